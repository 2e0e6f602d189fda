-- Why models were trained: by the schedule, because of drift, of labels, of a tenant's departure, or by hand; several
-- are joined by commas.
alter table retraining_request add column why text not null default 'hand';
-- The owner obeys row-level security and sees no tenant's rows; for this one update it must.
alter table retraining_request no force row level security;
update retraining_request set why = 'drift' where who = 'drift';
alter table retraining_request force row level security;
alter table model_lineage add column why text not null default '';

insert into column_registry (table_name, column_name, purpose, retention, personal) values
    ('retraining_request', 'why', 'What asked for the retraining', 'record', false),
    ('model_lineage', 'why', 'What asked for the training', 'record', false);
