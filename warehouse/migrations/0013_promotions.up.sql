-- Moves of the alias `champion`: written before the alias moves, and completed after it, so that none is lost with the
-- process that makes it.

-- One row per move and tenant; tenants that share a validation have rows of the same id. before: the champion whose place
-- it takes, null where there was none. who: who wants it. expires: until when a person may answer, null where nobody is
-- asked. flow_run: of Prefect, which waits for the answer, empty without one. told: what came of it, in words.
create table promotion (
    tenant text not null references tenant,
    id text not null,
    family text not null,
    version text not null,
    before text check (before <> version),
    what text not null check (what in ('promote', 'rollback')),
    who text not null,
    reason text not null,
    validation text not null default '',
    state text not null check (state in ('waiting', 'approved', 'rejected', 'intended', 'probation', 'done', 'refused',
        'superseded', 'kept', 'taken-back')),
    asked timestamptz not null,
    expires timestamptz,
    flow_run text not null default '',
    answered_by text not null default '',
    moved timestamptz,
    ended timestamptz,
    told text not null default '',
    primary key (tenant, id)
);
create index promotion_open on promotion (tenant, family) where ended is null;

-- When a guard that broke took the challenger back that had been promoted by the validation.
alter table validation add column taken_back timestamptz;

select isolate_by_tenant('promotion');
grant select, insert on promotion to tonewatch_app;
grant update (state, flow_run, answered_by, moved, ended, told) on promotion to tonewatch_app;
grant update (taken_back) on validation to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, 'record', personal
from (values
    ('promotion', 'tenant', 'Whose row it is', false),
    ('promotion', 'id family version before what reason validation asked', 'Which model is to be champion, and why', false),
    ('promotion', 'who answered_by', 'Who wanted it, and who said yes or no', true),
    ('promotion', 'expires flow_run', 'Until when an answer is awaited, and by which run of Prefect', false),
    ('promotion', 'state moved ended told', 'What became of it', false),
    ('validation', 'taken_back', 'When what it had promoted was taken back', false)
) as entry (table_name, column_names, purpose, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
