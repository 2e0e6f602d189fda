-- What was pushed at the door, as it came, until the watcher has read it on: one row per request. The samples stand in
-- `sample` too, written in the same transaction; this tells the watcher which are new, whatever time they are of.

-- xid: a cursor on the number of the writing transaction misses nothing, as long as it stops short of the oldest one
-- that still runs (pg_snapshot_xmin). So requests of one tenant need not queue up for the order of their commits.
create table delivery (
    tenant text not null references tenant,
    id bigint generated always as identity,
    xid xid8 not null default pg_current_xact_id(),
    received timestamptz not null,
    samples integer not null,
    series bigint[] not null,
    times timestamptz[] not null,
    numbers double precision[] not null,
    primary key (tenant, id)
);
create index delivery_by_transaction on delivery (tenant, xid, id);

select isolate_by_tenant('delivery');

grant select, insert, delete on delivery to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('delivery', 'tenant', 'Whose row it is', 'hot', false),
    ('delivery', 'id xid received', 'Which request brought it, and what was read on already', 'hot', false),
    ('delivery', 'samples series times numbers', 'The numbers that were pushed', 'hot', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
