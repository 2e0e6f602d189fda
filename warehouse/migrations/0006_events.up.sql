-- What comes in at the door besides metrics and beacons: what an Alertmanager says of the user's own alerts, and events.

-- One row per alert, that is per set of labels: how it stands. An Alertmanager says that an alert fires when it begins
-- and then hours apart, so that it fires on until it is told otherwise. started, ended: by the sender's clock; ended is
-- null while no end is known. first_heard: of this firing.
create table alert (
    tenant text not null references tenant,
    id text not null,
    labels jsonb not null,  -- pairs in their order: the id follows from them
    started timestamptz not null,
    ended timestamptz,
    first_heard timestamptz not null,
    heard timestamptz not null,
    primary key (tenant, id)
);

-- The sender's own id makes a repeat harmless. subject and address: keyed pseudonyms, '' where none was told.
create table event (
    tenant text not null references tenant,
    id text not null,
    kind text not null check (kind in ('access', 'auth', 'play')),
    time timestamptz not null,
    arrived timestamptz not null,
    subject text not null,
    address text not null,
    path text not null,
    status integer,
    bytes bigint check (bytes >= 0),
    agent text not null,
    outcome text not null,
    method text not null,
    track text not null,
    channel text not null,
    seconds double precision check (seconds >= 0),
    primary key (tenant, id)
);
create index event_by_time on event (tenant, time);

select isolate_by_tenant('alert'), isolate_by_tenant('event');

grant select, insert on alert, event to tonewatch_app;
grant update (started, ended, first_heard, heard) on alert to tonewatch_app;

-- As it was (0004), and what came with this migration: events, and alerts that ended so long ago.
create or replace function end_outlived(samples_before timestamptz, sessions_before timestamptz)
returns table (what text, rows bigint)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $body$
declare
    mine text := nullif(current_setting('app.tenant', true), '');
begin
    if mine is null then
        raise exception 'no tenant is set' using errcode = 'insufficient_privilege';
    end if;
    what := 'sample';
    delete from sample_hot_default where tenant = mine and time < samples_before;
    get diagnostics rows = row_count;
    return next;
    what := 'delivery';
    delete from delivery where tenant = mine and received < samples_before;
    get diagnostics rows = row_count;
    return next;
    what := 'session_report';
    delete from session_report where tenant = mine and time < sessions_before;
    get diagnostics rows = row_count;
    return next;
    what := 'event';
    delete from event where tenant = mine and time < sessions_before;
    get diagnostics rows = row_count;
    return next;
    what := 'alert';
    delete from alert where tenant = mine and heard < sessions_before;
    get diagnostics rows = row_count;
    return next;
end
$body$;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('alert', 'tenant', 'Whose row it is', 'session', false),
    ('alert', 'id labels', 'Which alert of the user''s own rules it is', 'session', false),
    ('alert', 'started ended', 'Since when and until when it fires, as its Alertmanager says', 'session', false),
    ('alert', 'first_heard heard', 'When it was told first and last', 'session', false),
    ('event', 'tenant', 'Whose row it is', 'session', false),
    ('event', 'id kind arrived', 'Which event it is, and when it came', 'session', false),
    ('event', 'subject address', 'Who did it and from where: keyed pseudonyms', 'session', true),
    ('event', 'time', 'When it was done', 'session', true),
    ('event', 'path status bytes agent method outcome', 'What was asked for, with what, and how it was answered',
        'session', true),
    ('event', 'track channel seconds', 'What was played, and how long', 'session', true)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
