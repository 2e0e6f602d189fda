-- Features as they were computed, kept as they became known, and the training sets that were made of them.

-- A view as it was defined when its rows were made: rows of another definition have another id and never mix with these.
create table feature_view (
    tenant text not null references tenant,
    id bigint not null check (id >= 0),  -- a hash of all that makes rows comparable
    name text not null,
    definition text not null,
    window_seconds double precision not null check (window_seconds > 0),
    every_seconds double precision not null check (every_seconds > 0),
    features text[] not null,
    units text[] not null,
    owner text not null,
    first_made timestamptz not null,
    primary key (tenant, id)
);

-- One row per entity, window and version of what was known: time is the window's end, created when the row was made. Late
-- data make a further row, so that what was known at a time can be asked for afterwards. No foreign key: it would fire once
-- per row; put() looks for the view once, in its turn, and who removes a tenant takes the same turn. Entities compare as bytes: a join looks up a million of them.
create table feature_row (
    tenant text not null,
    view bigint not null,
    entity text collate "C" not null,
    time timestamptz not null,
    created timestamptz not null,
    coverage double precision not null check (coverage between 0 and 1),
    -- Doubles, little-endian, in the order of feature_view.features; NaN where there is none. An array would be easier on
    -- people, but PostgreSQL sends one number by number: a join of a million rows took more than twice as long.
    numbers bytea not null,
    primary key (tenant, view, entity, time, created)
);
-- Rows end by their time: without it each hour's round would read all that the tenant has.
create index feature_row_outlived on feature_row (tenant, time);

-- What a model was taught with: enough to make the same again, to see that it is the same, and to find whose rows it holds.
create table training_set (
    tenant text not null references tenant,
    name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,79}$'),
    version integer not null check (version >= 1),
    hash text not null,
    view bigint not null,
    definition text not null,
    started timestamptz not null,
    ended timestamptz not null check (ended >= started),
    labels bigint not null check (labels >= 0),
    found bigint not null check (found between 0 and labels),
    entities text[] not null,
    sources jsonb not null,  -- table -> rows, first, last
    request jsonb not null,  -- what was asked for: the same request makes the same set
    made timestamptz not null,
    primary key (tenant, name, version),
    foreign key (tenant, view) references feature_view (tenant, id)
);

select isolate_by_tenant('feature_view'), isolate_by_tenant('feature_row'), isolate_by_tenant('training_set');

grant select, insert on feature_view, feature_row, training_set to tonewatch_app;

-- As end_outlived (0004): the app may delete nothing itself. The oldest `at_most` rows: a month of windows is millions,
-- more than one statement may take its time for.
create function end_outlived_features(before timestamptz, at_most integer) returns bigint language plpgsql security definer
set search_path = pg_catalog, public, pg_temp as $body$
declare
    mine text := nullif(current_setting('app.tenant', true), '');
    ended bigint;
begin
    if mine is null then
        raise exception 'no tenant is set' using errcode = 'insufficient_privilege';
    end if;
    delete from feature_row where tenant = mine and ctid = any(array(
        select f.ctid from feature_row f where f.tenant = mine and f.time < before order by f.time limit at_most));
    get diagnostics ended = row_count;
    return ended;
end
$body$;
revoke execute on function end_outlived_features from public;
grant execute on function end_outlived_features to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('feature_view', 'tenant', 'Whose row it is', 'record', false),
    ('feature_view', 'id name definition window_seconds every_seconds', 'Which features, as they were defined', 'record',
        false),
    ('feature_view', 'features units owner first_made', 'What the columns of its rows mean, and whose word that is', 'record',
        false),
    ('feature_row', 'tenant', 'Whose row it is', 'session', false),
    ('feature_row', 'view entity time created', 'Which window of what, and since when it is known', 'session', false),
    ('feature_row', 'coverage numbers', 'What was computed of the window''s samples', 'session', false),
    ('training_set', 'tenant', 'Whose row it is', 'record', false),
    ('training_set', 'name version hash', 'Which set, and what proves its content', 'record', false),
    ('training_set', 'view definition started ended request', 'How to make the same again', 'record', false),
    ('training_set', 'labels found entities sources made', 'Which rows it was made of', 'record', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
