-- A key can be given an end after it was made: it is rotated without a moment in which none holds.
grant update (expires) on api_key to tonewatch_app;

-- By which profile a version was watched, so that taking a version back takes back its profile, too.
alter table settings_version add column profile text not null default '';
alter table settings_version alter column profile drop default;
insert into column_registry (table_name, column_name, purpose, retention, personal)
values ('settings_version', 'profile', 'Over which profile''s file the settings lay', 'audit', false);
