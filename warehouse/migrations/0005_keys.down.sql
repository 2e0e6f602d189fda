revoke update (expires) on api_key from tonewatch_app;
alter table settings_version drop column profile;
delete from column_registry where (table_name, column_name) = ('settings_version', 'profile');
