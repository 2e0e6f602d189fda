-- What a tenant's own calm made of a family's model: the model is one for all, its threshold is each tenant's own.

-- One row per calibration; of a version's rows the newest holds. source: `training` set it on calm telemetry, `labels`
-- eased it after what people said of incidents. low, high: 90 % interval; highest: the highest calm score; rate:
-- incidents that all families together are expected to open in a calm week of the budget.
create table calibration (
    tenant text not null references tenant,
    family text not null,
    version text not null,
    made timestamptz not null,
    threshold double precision not null check (threshold between 0 and 1),
    low double precision not null,
    high double precision not null,
    highest double precision not null,
    rate double precision not null check (rate >= 0),
    tail text not null,
    source text not null check (source in ('training', 'labels')),
    reason text not null,
    primary key (tenant, family, version, made)
);
select isolate_by_tenant('calibration');
grant select, insert on calibration to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select 'calibration', column_name, purpose, 'record', false
from (values
    ('tenant', 'Whose row it is'),
    ('family version', 'Which model'),
    ('made source reason', 'When, from what and why the threshold was set'),
    ('threshold low high highest rate tail', 'The threshold, and how sure it is')
) as entry (column_names, purpose)
cross join lateral string_to_table(column_names, ' ') as column_name;
