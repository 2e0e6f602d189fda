-- What becomes of samples when they are no longer hot: roll-ups of five minutes, kept as records; and the functions by
-- which what has outlived its retention ends. They run as the owner, since the app may own nothing and delete little.

create table rollup (
    tenant text not null references tenant,
    series bigint not null,
    time timestamptz not null,  -- the beginning of the five minutes
    samples integer not null check (samples >= 1),
    low double precision not null,
    high double precision not null,
    mean double precision not null,
    last double precision not null,
    primary key (tenant, series, time)
);

select isolate_by_tenant('rollup');
grant select, insert on rollup to tonewatch_app;
grant update (samples, low, high, mean, last) on rollup to tonewatch_app;

-- Ends every partition of `retention` whose day lies wholly before `before`; gives how many. One that somebody reads
-- just now stays until the next time: nobody waits for it, and it keeps nobody waiting.
create function drop_sample_partitions(retention text, before timestamptz) returns integer language plpgsql
security definer set search_path = pg_catalog, public, pg_temp set lock_timeout = '500ms' as $body$
declare
    class_name text := 'sample_' || retention;
    day_name text;
    dropped integer := 0;
begin
    if retention !~ '^[a-z]{1,20}$' or retention = 'default' then
        raise exception 'no retention class: %', retention using errcode = 'invalid_parameter_value';
    end if;
    -- Days belong to all tenants. Whoever calls, and whatever its clock says, ends none that another still needs; the
    -- one place that asks the database's clock, as a bound and never for the time of anything.
    if before > clock_timestamp() - interval '48 hours' then
        raise exception 'samples of the last 48 hours are hot' using errcode = 'insufficient_privilege';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('ensure_sample_partition', 0));
    for day_name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
        where p.relname = class_name and p.relnamespace = 'public'::regnamespace
          and c.relname ~ ('^' || class_name || '_[0-9]{8}$')
          and (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp at time zone 'UTC' <= before
        order by c.relname
    loop
        begin
            execute format('drop table public.%I', day_name);
            dropped := dropped + 1;
        exception when lock_not_available or deadlock_detected then
            null;
        end;
    end loop;
    return dropped;
end
$body$;
revoke execute on function drop_sample_partitions from public;
grant execute on function drop_sample_partitions to tonewatch_app;

-- Ends what the tenant of the transaction has had for longer: the owner obeys the same policies as everybody. Samples
-- that came for a day whose partition could not be made lie in the default partition and end here, too.
create function end_outlived(samples_before timestamptz, sessions_before timestamptz) returns table (what text, rows bigint)
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
end
$body$;
revoke execute on function end_outlived from public;
grant execute on function end_outlived to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('rollup', 'tenant', 'Whose row it is', 'record', false),
    ('rollup', 'series time', 'Which line, and the beginning of which five minutes', 'record', false),
    ('rollup', 'samples low high mean last', 'What its numbers were', 'record', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
