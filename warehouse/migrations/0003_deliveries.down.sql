drop table delivery;
delete from column_registry where table_name = 'delivery';
