-- Whether features, scores and verdicts are still what they were; what was asked for because they are not; and whether
-- the data keep the contracts of their views.

-- One row per check of a view (`incidents`: of what people said of incidents); the window is what was compared with the
-- reference before it. report: the MLflow run that holds the page of pictures, empty without one.
create table drift_check (
    tenant text not null references tenant,
    view text not null,
    window_end timestamptz not null,
    window_start timestamptz not null check (window_start < window_end),
    reference_start timestamptz not null,
    checked timestamptz not null,
    verdict text not null check (verdict in ('steady', 'drift', 'growth', 'unjudged')),
    told text not null,
    report text not null default '',
    primary key (tenant, view, window_end)
);

-- What the check said of each feature. subject: data, scores or labels; null where it could not be judged.
create table drift_result (
    tenant text not null,
    view text not null,
    window_end timestamptz not null,
    subject text not null check (subject in ('data', 'scores', 'labels')),
    feature text not null,
    aspect text not null,
    statistic double precision,
    effect double precision,
    p double precision check (p between 0 and 1),
    q double precision check (q between 0 and 1),
    verdict text not null check (verdict in ('steady', 'drift', 'growth', 'unjudged')),
    days integer not null check (days >= 0),
    told text not null,
    primary key (tenant, view, window_end, subject, feature, aspect),
    foreign key (tenant, view, window_end) references drift_check
);

-- A retraining that was asked for. flow_run: of Prefect, empty until it took the request; until the cool-down is over no
-- other is asked for by itself.
create table retraining_request (
    tenant text not null references tenant,
    view text not null,
    asked timestamptz not null,
    cool_down_seconds double precision not null check (cool_down_seconds >= 0),
    who text not null,
    reason text not null,
    flow_run text not null default '',
    delivered timestamptz,
    primary key (tenant, view, asked)
);

-- A person's word that what a view shows is normal from then on: its reference begins there.
create table drift_acceptance (
    tenant text not null references tenant,
    view text not null,
    at timestamptz not null,
    who text not null,
    reason text not null,
    primary key (tenant, view, at)
);

-- What was asked of a view's rows, and whether it held. judge: great-expectations, or contracts where that is not
-- installed.
create table data_quality (
    tenant text not null references tenant,
    view text not null,
    checked timestamptz not null,
    clause text not null,
    feature text not null,
    held boolean not null,
    broken bigint not null check (broken >= 0),
    rows bigint not null check (rows >= 0),
    judge text not null,
    told text not null,
    primary key (tenant, view, checked, clause, feature)
);

-- A clause that does not hold, from the first check that saw it to the first that did not; the owner is told once.
create table data_breach (
    tenant text not null references tenant,
    view text not null,
    clause text not null,
    feature text not null,
    since timestamptz not null,
    ended timestamptz check (ended >= since),
    owner text not null,
    told text not null,
    primary key (tenant, view, clause, feature, since)
);
create unique index data_breach_lasts on data_breach (tenant, view, clause, feature) where ended is null;

select isolate_by_tenant('drift_check'), isolate_by_tenant('drift_result'), isolate_by_tenant('retraining_request'),
    isolate_by_tenant('drift_acceptance'), isolate_by_tenant('data_quality'), isolate_by_tenant('data_breach');

grant select, insert on drift_check, drift_result, retraining_request, drift_acceptance, data_quality, data_breach
    to tonewatch_app;
grant update (report) on drift_check to tonewatch_app;
grant update (flow_run, delivered) on retraining_request to tonewatch_app;
grant update (ended) on data_breach to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, 'record', personal
from (values
    ('drift_check', 'tenant', 'Whose row it is', false),
    ('drift_check', 'view window_start window_end reference_start checked', 'What was compared with what, and when', false),
    ('drift_check', 'verdict told report', 'What came of it', false),
    ('drift_result', 'tenant', 'Whose row it is', false),
    ('drift_result', 'view window_end subject feature aspect', 'What was compared', false),
    ('drift_result', 'statistic effect p q days', 'How far it has moved, and how sure that is', false),
    ('drift_result', 'verdict told', 'What came of it', false),
    ('retraining_request', 'tenant', 'Whose row it is', false),
    ('retraining_request', 'view asked cool_down_seconds reason', 'Which retraining, when and why', false),
    ('retraining_request', 'who', 'Who asked for it', true),
    ('retraining_request', 'flow_run delivered', 'What Prefect made of it', false),
    ('drift_acceptance', 'tenant', 'Whose row it is', false),
    ('drift_acceptance', 'view at reason', 'What is normal since when, and why', false),
    ('drift_acceptance', 'who', 'Who said so', true),
    ('data_quality', 'tenant', 'Whose row it is', false),
    ('data_quality', 'view checked clause feature judge', 'What was asked of the rows, when and by what', false),
    ('data_quality', 'held broken rows told', 'Whether it held', false),
    ('data_breach', 'tenant', 'Whose row it is', false),
    ('data_breach', 'view clause feature since ended owner told', 'What does not hold, since when, and who answers for it',
        false)
) as entry (table_name, column_names, purpose, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
