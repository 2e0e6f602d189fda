drop function end_outlived, drop_sample_partitions;
drop table rollup;
delete from column_registry where table_name = 'rollup';
