-- Who may see and do what. The app owns nothing and obeys row-level security; so does the owner (FORCE).

create function isolate_by_tenant(target regclass) returns void language plpgsql
set search_path = pg_catalog, public, pg_temp as $body$
begin
    execute format('alter table %s enable row level security', target);
    execute format('alter table %s force row level security', target);
    -- nullif: after a transaction the setting is '' instead of unset. (select ...): asked once, not once per row.
    execute format($policy$create policy tenant_isolation on %s
        using (tenant = (select nullif(current_setting('app.tenant', true), '')))
        with check (tenant = (select nullif(current_setting('app.tenant', true), '')))$policy$, target);
end
$body$;
comment on function isolate_by_tenant is 'Every migration that makes a table calls this for it.';
revoke execute on function isolate_by_tenant from public;

do $body$
declare
    target regclass;
begin
    for target in
        select c.oid from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and c.relname not in ('alembic_version', 'column_registry')
    loop
        perform isolate_by_tenant(target);
    end loop;
end
$body$;

-- These two tell of the schema, not of a tenant; only the owner writes them.
alter table alembic_version enable row level security;
alter table alembic_version force row level security;
create policy owner_keeps on alembic_version to tonewatch_owner using (true) with check (true);
alter table column_registry enable row level security;
alter table column_registry force row level security;
create policy owner_keeps on column_registry to tonewatch_owner using (true) with check (true);
create policy all_read on column_registry for select using (true);

-- Append-only, for the owner too. Per statement: a row trigger would stay silent where the policy hides the rows.
create function refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $body$
begin
    raise exception '% is append-only: % is refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$body$;
revoke execute on function refuse_change from public;
create trigger audit_is_append_only before update or delete or truncate on audit
    for each statement execute function refuse_change();
alter table audit enable always trigger audit_is_append_only;

-- Makes the partition of one day. Runs as the owner since the app may own nothing; makes partitions and nothing else.
-- False: not made (locked by another, rows of that day lie in the default partition already, or far too many):
-- samples then go to the default partition, so nothing is lost.
create function ensure_sample_partition(retention text, day date) returns boolean language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '500ms' as $body$
declare
    class_name text := 'sample_' || retention;
    day_name text := class_name || to_char(day, '_YYYYMMDD');
begin
    if retention !~ '^[a-z]{1,20}$' or retention = 'default' then
        raise exception 'no retention class: %', retention using errcode = 'invalid_parameter_value';
    end if;
    -- pg_class is read by query: to_regclass() would answer from a cache that the wait for the lock has made stale.
    if exists (select from pg_class where relname = day_name and relnamespace = 'public'::regnamespace) then
        return true;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('ensure_sample_partition', 0));
    if exists (select from pg_class where relname = day_name and relnamespace = 'public'::regnamespace) then
        return true;
    end if;
    if not exists (select from pg_class where relname = class_name and relnamespace = 'public'::regnamespace) then
        execute format('create table public.%I (like public.sample including defaults) partition by range (time)',
            class_name);
        perform isolate_by_tenant(format('public.%I', class_name)::regclass);
        execute format('create table public.%I partition of public.%I default', class_name || '_default', class_name);
        perform isolate_by_tenant(format('public.%I', class_name || '_default')::regclass);
        execute format('alter table public.sample attach partition public.%I for values in (%L)', class_name, retention);
    end if;
    if (select count(*) from pg_inherits i join pg_class c on c.oid = i.inhparent
            where c.relname = class_name and c.relnamespace = 'public'::regnamespace) >= 1000 then
        return false;
    end if;
    -- Attach, not "partition of": that would lock the whole parent against readers.
    execute format('create table public.%I (like public.sample including defaults)', day_name);
    perform isolate_by_tenant(format('public.%I', day_name)::regclass);
    execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)', class_name, day_name,
        to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
    return true;
exception when lock_not_available or check_violation or deadlock_detected then
    return false;
end
$body$;
revoke execute on function ensure_sample_partition from public;
grant execute on function ensure_sample_partition to tonewatch_app;

grant select on tenant, settings_version, entity, entity_link, series, sample, finding, incident, incident_finding,
    cause, action, verdict, notice, change, evidence, session_report, cursor, snapshot, run, label, api_key, audit,
    column_registry, incident_story to tonewatch_app;
grant insert on tenant, settings_version, entity, entity_link, series, sample, finding, incident, incident_finding,
    cause, action, verdict, notice, change, evidence, session_report, cursor, snapshot, run, label, api_key, audit
    to tonewatch_app;
grant update on entity, entity_link, incident, cause, action, verdict, notice, change, cursor, snapshot, run
    to tonewatch_app;
grant update (name, profile, settings_version) on tenant to tonewatch_app;
grant update (value) on sample to tonewatch_app;
grant update (revoked) on api_key to tonewatch_app;
grant delete on cause to tonewatch_app;

-- The dispatcher finds what is due, over all tenants, and takes it; it reads no content.
grant select (tenant) on tenant to tonewatch_dispatcher;
grant select (tenant, id, state, created, next_attempt, lease_holder, lease_until, fence) on notice
    to tonewatch_dispatcher;
grant update (lease_holder, lease_until, fence) on notice to tonewatch_dispatcher;
grant select (tenant, key, incident, state, intended, started, lease_holder, lease_until, fence) on action
    to tonewatch_dispatcher;
grant update (lease_holder, lease_until, fence) on action to tonewatch_dispatcher;
create policy dispatcher_reads on tenant for select to tonewatch_dispatcher using (true);
create policy dispatcher_reads on notice for select to tonewatch_dispatcher using (true);
create policy dispatcher_leases on notice for update to tonewatch_dispatcher using (true) with check (true);
create policy dispatcher_reads on action for select to tonewatch_dispatcher using (true);
create policy dispatcher_leases on action for update to tonewatch_dispatcher using (true) with check (true);
