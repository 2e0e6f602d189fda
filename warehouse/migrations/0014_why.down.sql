delete from column_registry where column_name = 'why' and table_name in ('retraining_request', 'model_lineage');
alter table model_lineage drop column why;
alter table retraining_request drop column why;
