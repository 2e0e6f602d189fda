drop function end_outlived_checks;
update column_registry set retention = 'record' where table_name in ('data_quality', 'drift_check', 'drift_result');
alter table column_registry drop constraint column_registry_retention_check;
alter table column_registry add constraint column_registry_retention_check
    check (retention in ('hot', 'session', 'record', 'audit', 'tenant', 'schema'));
