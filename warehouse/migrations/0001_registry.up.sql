-- table, columns (several may share a purpose), purpose, retention, personal.
insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('tenant', 'tenant', 'Name of the customer; whose every other row is', 'tenant', false),
    ('tenant', 'name', 'Name shown to people', 'tenant', false),
    ('tenant', 'profile settings_version', 'How the tenant is watched', 'tenant', false),
    ('tenant', 'created', 'When the tenant came', 'tenant', false),
    ('settings_version', 'version settings', 'Settings as they were at a time', 'audit', false),
    ('settings_version', 'who', 'Who changed the settings', 'audit', true),
    ('settings_version', 'reason time', 'Why and when the settings were changed', 'audit', false),
    ('entity', 'id stage labels', 'A part of the platform and the names it is known by', 'record', false),
    ('entity', 'valid_from valid_to', 'When the part was like this', 'record', false),
    ('entity_link', 'source kind target', 'What feeds or depends on what', 'record', false),
    ('entity_link', 'valid_from valid_to', 'When the link stood', 'record', false),
    ('series', 'id entity metric labels unit kind', 'What a line of numbers means', 'record', false),
    ('series', 'first_seen', 'When the line began', 'record', false),
    ('sample', 'retention', 'How long the number is kept: its partition', 'hot', false),
    ('sample', 'series time value', 'One number at one time', 'hot', false),
    ('finding', 'id entity detector kind', 'What was seen, where and by which check', 'record', false),
    ('finding', 'started ended', 'Window of event time in which it was seen', 'record', false),
    ('finding', 'summary symptom expected actual', 'What it says to people and to the diagnosis', 'record', false),
    ('finding', 'score rate features model_version', 'How unusual it is, why, and by which model', 'record', false),
    ('finding', 'evidence', 'Evidence that bears it out', 'record', false),
    ('incident', 'id state title entities', 'Findings that belong together and how far they have come', 'record', false),
    ('incident', 'onset opened impact_started impact_ended closed', 'When it happened and hurt', 'record', false),
    ('incident', 'listener_minutes_lost loss_basis severity incident_class', 'How bad it is', 'record', false),
    ('incident_finding', 'incident finding', 'Which findings an incident holds', 'record', false),
    ('cause', 'incident rank entity kind confidence', 'Ranked explanation of an incident', 'record', false),
    ('cause', 'evidence path named', 'Why that explanation, and when it was given', 'record', false),
    ('action', 'key incident runbook target attempt parameters', 'What was to be done', 'record', false),
    ('action', 'state intended started finished detail', 'How far it has come', 'record', false),
    ('action', 'autonomy guards undo', 'Why it was allowed and what would undo it', 'record', false),
    ('action', 'lease_holder lease_until fence', 'Which process carries it on', 'record', false),
    ('verdict', 'action incident outcome controlled decided', 'Whether a remedy worked', 'record', false),
    ('verdict', 'slis reason', 'What was measured for that', 'record', false),
    ('notice', 'id incident incident_state level channel', 'What is told, how loudly and where', 'record', false),
    ('notice', 'subject body html', 'The message', 'record', false),
    ('notice', 'created state attempts next_attempt sent last_error', 'Whether the message went out', 'record', false),
    ('notice', 'lease_holder lease_until fence', 'Which process sends it', 'record', false),
    ('change', 'id kind entity started ended summary', 'What was changed on the platform', 'record', false),
    ('change', 'author', 'Who changed it', 'record', true),
    ('evidence', 'id kind as_of media_type', 'What was kept as it was', 'record', false),
    ('evidence', 'content', 'The thing kept: logs in it may name people', 'record', true),
    ('session_report', 'session', 'Which listening session: a keyed pseudonym', 'session', true),
    ('session_report', 'sequence arrival arrived', 'Order of the reports, and what was read already', 'session', false),
    ('session_report', 'channel edge time event state', 'What the player did, where and when', 'session', true),
    ('session_report', 'starved_ms startup_ms latency_ms buffer_ms', 'What the listener missed', 'session', true),
    ('session_report', 'throughput_kbps bitrate_kbps', 'What the network gave', 'session', true),
    ('cursor', 'name position moved', 'How far a reader has come', 'tenant', false),
    ('snapshot', 'name cursor state', 'State of a detector at its cursor', 'tenant', false),
    ('run', 'id kind started ended incident outcome summary', 'What ran, for the orchestrator''s view', 'record', false),
    ('run', 'flow_run', 'Which flow run shows it', 'record', false),
    ('label', 'id subject_kind subject value', 'What an operator''s act said of a result', 'record', false),
    ('label', 'who', 'Which operator', 'record', true),
    ('label', 'reason time', 'Why and when', 'record', false),
    ('api_key', 'id hash', 'Recognises a key; the key itself is not kept', 'audit', false),
    ('api_key', 'purpose scopes', 'What the key is for and may do', 'audit', false),
    ('api_key', 'created expires revoked', 'When the key holds', 'audit', false),
    ('audit', 'seq time what subject reason', 'What was done, to what, why', 'audit', false),
    ('audit', 'who', 'Who did it', 'audit', true),
    ('audit', 'before after', 'How it was before and after: a change of a person''s rights names the person', 'audit', true),
    ('column_registry', 'table_name column_name purpose retention personal', 'This registry', 'schema', false),
    ('alembic_version', 'version_num', 'Version of the schema', 'schema', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select c.relname, 'tenant', 'Whose row it is', coalesce(
        (select min(r.retention) from column_registry r where r.table_name = c.relname), 'record'), false
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'tenant';
