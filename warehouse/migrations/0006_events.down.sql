-- end_outlived as it was (0004).
create or replace function end_outlived(samples_before timestamptz, sessions_before timestamptz) returns table (what text, rows bigint)
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
drop table alert, event;
delete from column_registry where table_name in ('alert', 'event');
