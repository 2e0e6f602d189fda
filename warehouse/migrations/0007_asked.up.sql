-- What the gateway is asked for, the newest first, found without reading a tenant's whole past.
create index action_by_time on action (tenant, intended, key);
create index audit_by_time on audit (tenant, time, seq);
-- What was done to one thing, and whether an incident was ever handed over, which a report asks of each.
create index audit_by_subject on audit (tenant, subject, time, seq);

-- Links of notices that were used. A row is written in the transaction of what the link does, so that it does it once.
create table used_link (
    tenant text not null references tenant,
    id text not null,
    used timestamptz not null,
    primary key (tenant, id)
);
select isolate_by_tenant('used_link');
grant select, insert on used_link to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
values ('used_link', 'tenant', 'Whose row it is', 'record', false),
    ('used_link', 'id', 'Which link of a notice was used', 'record', false),
    ('used_link', 'used', 'When', 'record', false);
