delete from column_registry where table_name = 'retraining_request' and column_name = 'dropped';
alter table retraining_request drop column dropped;
