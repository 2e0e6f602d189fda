-- What is looked at every hour and every six hours is thousands of rows a day and tenant: it ends, as samples do.

-- As end_outlived (0004): the app may delete nothing itself. What was breached, asked for or accepted stays.
create function end_outlived_checks(before timestamptz) returns table (what text, rows bigint)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $body$
declare
    mine text := nullif(current_setting('app.tenant', true), '');
begin
    if mine is null then
        raise exception 'no tenant is set' using errcode = 'insufficient_privilege';
    end if;
    what := 'data_quality';
    delete from data_quality where tenant = mine and checked < before;
    get diagnostics rows = row_count;
    return next;
    delete from drift_result where tenant = mine and window_end < before;
    what := 'drift_check';
    delete from drift_check where tenant = mine and window_end < before;
    get diagnostics rows = row_count;
    return next;
end
$body$;
revoke execute on function end_outlived_checks from public;
grant execute on function end_outlived_checks to tonewatch_app;

alter table column_registry drop constraint column_registry_retention_check;
alter table column_registry add constraint column_registry_retention_check
    check (retention in ('hot', 'session', 'check', 'record', 'audit', 'tenant', 'schema'));
update column_registry set retention = 'check' where table_name in ('data_quality', 'drift_check', 'drift_result');
