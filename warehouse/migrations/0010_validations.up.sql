-- A/B validations: a challenger and the champion in shadow on the tenant's stream, what was observed, and what it means.

-- One row per pair of versions that the tenant takes part in; other tenants' rows have the same id. plan: made before the
-- first observation and never changed. promoted: when the challenger became champion by it.
create table validation (
    tenant text not null references tenant,
    id text not null,
    family text not null,
    champion text not null,
    challenger text not null check (challenger <> champion),
    plan jsonb not null,
    started timestamptz not null,
    promoted timestamptz,
    primary key (tenant, id)
);

-- What was observed, once per id. outcome: an incident or an injected anomaly and who found it; calm: pages of a calm
-- stretch; cost: seconds and MiB; crash: why the challenger failed.
create table validation_observation (
    tenant text not null,
    validation text not null,
    id text not null,
    kind text not null check (kind in ('outcome', 'calm', 'cost', 'crash')),
    time timestamptz not null,
    content jsonb not null,
    primary key (tenant, validation, id),
    foreign key (tenant, validation) references validation (tenant, id)
);

-- What one of the two would have told and the other not: whoever says what it was decides it. The word is a label of
-- subject kind `disagreement`.
create table disagreement (
    tenant text not null,
    id text not null,
    validation text not null,
    entity text not null,
    found_by text not null check (found_by in ('champion', 'challenger')),
    started timestamptz not null,
    ended timestamptz not null check (ended >= started),
    score double precision not null,
    queued timestamptz not null,
    primary key (tenant, id),
    foreign key (tenant, validation) references validation (tenant, id)
);

-- Every look at the evidence; the first that is final ends the validation.
create table validation_verdict (
    tenant text not null,
    validation text not null,
    until timestamptz not null,
    answer text not null check (answer in ('better', 'worse', 'inconclusive')),
    final boolean not null,
    estimate double precision not null,
    low double precision not null,
    high double precision not null,
    counted integer not null check (counted >= 0),
    reasons text[] not null,
    guards jsonb not null,
    primary key (tenant, validation, until),
    foreign key (tenant, validation) references validation (tenant, id)
);

select isolate_by_tenant('validation'), isolate_by_tenant('validation_observation'), isolate_by_tenant('disagreement'),
    isolate_by_tenant('validation_verdict');
grant select, insert on validation, validation_observation, disagreement, validation_verdict to tonewatch_app;
grant update (promoted) on validation to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, 'record', false
from (values
    ('validation', 'tenant', 'Whose row it is'),
    ('validation', 'id family champion challenger', 'Which models are compared'),
    ('validation', 'plan started promoted', 'How long, what counts, and what came of it'),
    ('validation_observation', 'tenant', 'Whose row it is'),
    ('validation_observation', 'validation id kind time content', 'What both did with one incident, anomaly or stretch'),
    ('disagreement', 'tenant', 'Whose row it is'),
    ('disagreement', 'id validation entity found_by started ended score queued', 'What only one of two models would have told'),
    ('validation_verdict', 'tenant', 'Whose row it is'),
    ('validation_verdict', 'validation until answer final reasons guards', 'What was known then, and why'),
    ('validation_verdict', 'estimate low high counted', 'How much more the challenger found, and how sure that is')
) as entry (table_name, column_names, purpose)
cross join lateral string_to_table(column_names, ' ') as column_name;
