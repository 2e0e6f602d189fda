delete from column_registry where table_name = 'used_link';
drop table used_link;
drop index audit_by_subject;
drop index audit_by_time;
drop index action_by_time;
