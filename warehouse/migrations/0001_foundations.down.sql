-- Takes every table away with its content; alembic_version stays, as it was before 0001.
drop view incident_story;
drop policy owner_keeps on alembic_version;
alter table alembic_version no force row level security;
alter table alembic_version disable row level security;
drop table sample;
drop table column_registry, audit, api_key, label, run, snapshot, cursor, session_report, evidence, change, notice, verdict,
    action, cause, incident_finding, incident, finding, series, entity_link, entity, settings_version, tenant;
drop function ensure_sample_partition, isolate_by_tenant, refuse_change;
