-- Why a retraining that was asked for is never handed over: what had drifted was found steady, or accepted, before.
alter table retraining_request add column dropped text not null default '';
grant update (dropped) on retraining_request to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal) values
    ('retraining_request', 'dropped', 'Why it is never handed over', 'record', false);
