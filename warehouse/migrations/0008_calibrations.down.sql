delete from column_registry where table_name = 'calibration';
drop table calibration;
