drop table drift_result, drift_check, retraining_request, drift_acceptance, data_quality, data_breach;
delete from column_registry where table_name in (
    'drift_result', 'drift_check', 'retraining_request', 'drift_acceptance', 'data_quality', 'data_breach');
