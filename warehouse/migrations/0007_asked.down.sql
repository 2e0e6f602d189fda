drop index audit_by_subject;
drop index audit_by_time;
drop index action_by_time;
