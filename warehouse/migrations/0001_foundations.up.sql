-- The nouns of tonewatch/records.py as tables. Tenant comes first in every key, so that no key tells one tenant
-- anything of another (a duplicate-key error or an accepted foreign key would). Times are the caller's: nothing here
-- asks the database for the time. Access is in 0001_access.up.sql, the registry of columns in 0001_registry.up.sql.

create table tenant (
    tenant text primary key check (tenant ~ '^[a-z0-9-]{1,40}$'),
    name text not null,
    profile text not null,
    settings_version integer not null default 1,
    created timestamptz not null
);

create table settings_version (
    tenant text not null references tenant,
    version integer not null check (version >= 1),
    settings jsonb not null,
    who text not null,
    reason text not null,
    time timestamptz not null,
    primary key (tenant, version)
);

-- One row per stretch of time in which an entity was like this; valid_to is null while it still is.
create table entity (
    tenant text not null references tenant,
    id text not null check (id ~ '^[a-z][a-z0-9_-]*:[A-Za-z0-9][A-Za-z0-9_./-]*$'),
    stage text not null,
    labels jsonb not null,
    valid_from timestamptz not null,
    valid_to timestamptz check (valid_to > valid_from),
    primary key (tenant, id, valid_from)
);
create unique index entity_current on entity (tenant, id) where valid_to is null;

create table entity_link (
    tenant text not null references tenant,
    source text not null,
    kind text not null check (kind in ('feeds', 'depends-on')),
    target text not null,
    valid_from timestamptz not null,
    valid_to timestamptz check (valid_to > valid_from),
    primary key (tenant, source, kind, target, valid_from)
);
create unique index entity_link_current on entity_link (tenant, source, kind, target) where valid_to is null;

create table series (
    tenant text not null references tenant,
    id bigint not null check (id >= 0),
    entity text not null,
    metric text not null,
    labels jsonb not null,  -- pairs in their order: the id follows from them
    unit text not null,
    kind text not null check (kind in ('gauge', 'counter', 'rate')),
    first_seen timestamptz not null,
    primary key (tenant, id)
);
create index series_by_entity on series (tenant, entity, metric);

-- No foreign key to series: it would fire once per sample. append() writes the series first, in the same transaction.
create table sample (
    tenant text not null,
    retention text not null,
    series bigint not null,
    time timestamptz not null,
    value double precision not null,
    primary key (tenant, retention, series, time)
) partition by list (retention);
create table sample_default partition of sample default;
create table sample_hot partition of sample for values in ('hot') partition by range (time);
create table sample_hot_default partition of sample_hot default;

create table finding (
    tenant text not null references tenant,
    id text not null,
    entity text not null,
    detector text not null,
    kind text not null check (kind in ('signal', 'rule', 'data', 'security', 'drift', 'host')),
    started timestamptz not null,
    ended timestamptz not null check (ended >= started),
    summary text not null,
    symptom text not null,
    expected text not null,
    actual text not null,
    score double precision not null,
    rate double precision,
    features jsonb not null,
    model_version text,
    evidence text[] not null,
    primary key (tenant, id)
);
create index finding_by_end on finding (tenant, ended);

create table incident (
    tenant text not null references tenant,
    id text not null,
    state text not null
        check (state in ('open', 'diagnosed', 'acting', 'verifying', 'mended', 'handed-over', 'closed')),
    onset timestamptz not null,
    opened timestamptz not null,
    title text not null,
    entities text[] not null,
    impact_started timestamptz,
    impact_ended timestamptz,
    listener_minutes_lost double precision not null,
    loss_basis text not null check (loss_basis in ('measured', 'inferred', 'probe')),
    severity text not null check (severity in ('minor', 'major', 'critical')),
    incident_class text not null,
    closed timestamptz,
    primary key (tenant, id)
);
create index incident_by_opening on incident (tenant, opened);
create index incident_active on incident (tenant, opened) where state <> 'closed';

create table incident_finding (
    tenant text not null,
    incident text not null,
    finding text not null,
    primary key (tenant, incident, finding),
    foreign key (tenant, incident) references incident (tenant, id),
    foreign key (tenant, finding) references finding (tenant, id)
);
create index incident_finding_by_finding on incident_finding (tenant, finding);

create table cause (
    tenant text not null,
    incident text not null,
    rank integer not null check (rank >= 1),
    entity text not null,
    kind text not null,
    confidence double precision not null,
    evidence text[] not null,
    path text[] not null,
    named timestamptz,  -- when the diagnosis was made
    primary key (tenant, incident, rank),
    foreign key (tenant, incident) references incident (tenant, id)
);

create table action (
    tenant text not null,
    key text not null,
    incident text not null,
    runbook text not null,
    target text not null,
    attempt integer not null,
    state text not null check (state in ('intended', 'started', 'finished', 'failed', 'refused')),
    autonomy text not null check (autonomy in ('observe', 'propose', 'veto', 'act')),
    parameters jsonb not null,
    guards jsonb not null,
    intended timestamptz,
    started timestamptz,
    finished timestamptz,
    undo text not null,
    detail text not null,
    lease_holder text,
    lease_until timestamptz,
    fence bigint not null default 0,
    primary key (tenant, key),
    unique (tenant, incident, runbook, target, attempt),
    foreign key (tenant, incident) references incident (tenant, id)
);

create table verdict (
    tenant text not null,
    action text not null,
    incident text not null,
    outcome text not null check (outcome in ('worked', 'harmed', 'inconclusive')),
    controlled boolean not null,
    decided timestamptz not null,
    slis jsonb not null,
    reason text not null,
    primary key (tenant, action),
    foreign key (tenant, action) references action (tenant, key),
    foreign key (tenant, incident) references incident (tenant, id)
);
create index verdict_by_incident on verdict (tenant, incident);

-- The outbox. A notice need not belong to an incident (a report does not), so there is no foreign key.
create table notice (
    tenant text not null references tenant,
    id text not null,
    incident text not null,
    incident_state text not null,
    level text not null,
    channel text not null,
    subject text not null,
    body text not null,
    html text not null,
    created timestamptz,
    state text not null check (state in ('pending', 'sent', 'refused')),
    attempts integer not null,
    next_attempt timestamptz,
    sent timestamptz,
    last_error text not null,
    lease_holder text,
    lease_until timestamptz,
    fence bigint not null default 0,
    primary key (tenant, id)
);
create index notice_by_incident on notice (tenant, incident);
create index notice_pending on notice (tenant, next_attempt) where state = 'pending';

create table change (
    tenant text not null references tenant,
    id text not null,
    kind text not null,
    entity text not null,
    started timestamptz not null,
    ended timestamptz,
    author text not null,
    summary text not null,
    primary key (tenant, id)
);
create index change_by_start on change (tenant, started);

create table evidence (
    tenant text not null references tenant,
    id text not null,
    kind text not null,
    as_of timestamptz not null,
    media_type text not null,
    content bytea not null,
    primary key (tenant, id)
);

-- arrival counts up in the order of commits within a tenant (sessions.save locks), so that a cursor on it skips nothing.
create table session_report (
    tenant text not null references tenant,
    session text not null,
    sequence bigint not null,
    arrival bigint generated always as identity,
    arrived timestamptz not null,
    channel text not null,
    edge text not null,
    time timestamptz not null,
    event text not null,
    state text not null,
    starved_ms bigint not null check (starved_ms >= 0),
    startup_ms bigint check (startup_ms >= 0),
    latency_ms bigint,
    buffer_ms bigint,
    throughput_kbps bigint,
    bitrate_kbps bigint,
    primary key (tenant, session, sequence)
);
create unique index session_report_by_arrival on session_report (tenant, arrival);
create index session_report_by_time on session_report (tenant, time);

create table cursor (
    tenant text not null references tenant,
    name text not null,
    position jsonb not null,
    moved timestamptz not null,
    primary key (tenant, name)
);

create table snapshot (
    tenant text not null references tenant,
    name text not null,
    cursor timestamptz not null,
    state bytea not null,
    primary key (tenant, name)
);

create table run (
    tenant text not null references tenant,
    id text not null,
    kind text not null check (kind in ('detection', 'correlation', 'remediation')),
    started timestamptz not null,
    ended timestamptz,
    incident text,
    outcome text not null check (outcome in ('running', 'completed', 'failed')),
    summary jsonb not null,
    flow_run text,
    primary key (tenant, id)
);
create index run_unrecorded on run (tenant, started) where flow_run is null;

-- What an operator's act said of a finding, incident, cause or action: what calibration and training learn from.
create table label (
    tenant text not null references tenant,
    id text not null,
    subject_kind text not null,
    subject text not null,
    value text not null,
    who text not null,
    reason text not null,
    time timestamptz not null,
    primary key (tenant, id)
);
create index label_by_subject on label (tenant, subject_kind, subject);

create table api_key (
    tenant text not null references tenant,
    id text not null,
    hash bytea not null,
    purpose text not null,
    scopes text[] not null,
    created timestamptz not null,
    expires timestamptz,
    revoked timestamptz,
    primary key (tenant, id)
);

create table audit (
    tenant text not null references tenant,
    seq bigint generated always as identity,
    time timestamptz not null,
    who text not null,
    what text not null,
    subject text not null,
    before jsonb,
    after jsonb,
    reason text not null,
    primary key (tenant, seq)
);

-- What each column is for. A migration that adds a column adds its row: migrate.py and a test hold them together.
create table column_registry (
    table_name text not null,
    column_name text not null,
    purpose text not null check (purpose <> ''),
    retention text not null check (retention in ('hot', 'session', 'record', 'audit', 'tenant', 'schema')),
    personal boolean not null,
    primary key (table_name, column_name)
);
comment on column column_registry.retention is
    'hot: 48 hours; session: 30 days; record: 13 months; audit: 7 years; tenant: as long as the tenant; schema: for good';
comment on column column_registry.personal is
    'true: may tell of a person, a pseudonym included';
