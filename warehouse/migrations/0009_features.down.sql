drop function end_outlived_features;
drop table training_set, feature_row, feature_view;
delete from column_registry where table_name in ('training_set', 'feature_row', 'feature_view');
