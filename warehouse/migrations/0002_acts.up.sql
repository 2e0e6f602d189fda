-- What people do with incidents (their acts are labels, 0001): approvals, what the watcher has taken up, and the clock
-- by which what nobody answers climbs. And two columns by which a notice can be told anew and updated in place.

-- One "yes" to one action. That nobody says yes to what they asked for themselves, and that no yes is used late, is
-- kept here too: a mistake in the code does not get past it.
create table approval (
    tenant text not null references tenant,
    id text not null,
    action text not null,
    requester text not null,
    approver text not null check (approver <> requester),
    reason text not null,
    approved timestamptz not null,
    expires timestamptz not null check (expires > approved),
    used timestamptz check (used < expires),
    primary key (tenant, id),
    foreign key (tenant, action) references action (tenant, key)
);
create index approval_by_action on approval (tenant, action);

-- An act that has had its effect: written in the transaction of that effect, so that it has it once.
create table heeded (
    tenant text not null,
    label text not null,
    primary key (tenant, label),
    foreign key (tenant, label) references label (tenant, id)
);

-- The clock of one incident. level: the highest that was told; 'none' while the incident is silenced or inhibited.
-- policy: as it was when the clock began, so that a change of the profile moves no running clock.
create table escalation (
    tenant text not null,
    incident text not null,
    level text not null check (level in ('none', 'L1', 'L2', 'L3')),
    since timestamptz not null,
    policy jsonb not null,
    stopped timestamptz,
    stopped_by text not null,
    primary key (tenant, incident),
    foreign key (tenant, incident) references incident (tenant, id)
);
create index escalation_running on escalation (tenant, incident) where stopped is null;

-- superseded: it waited for a channel that was away, and a later notice of the same incident tells what it told.
alter table notice
    add column round integer not null default 1 check (round >= 1),
    add column receipt text not null default '',
    drop constraint notice_state_check,
    add constraint notice_state_check check (state in ('pending', 'sent', 'refused', 'superseded'));

select isolate_by_tenant('approval'), isolate_by_tenant('heeded'), isolate_by_tenant('escalation');

grant select, insert on approval, heeded, escalation to tonewatch_app;
grant update (used) on approval to tonewatch_app;
grant update (level, since, policy, stopped, stopped_by) on escalation to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('approval', 'tenant', 'Whose row it is', 'audit', false),
    ('approval', 'id action', 'To which action a person said yes', 'audit', false),
    ('approval', 'requester approver', 'Who asked and who said yes', 'audit', true),
    ('approval', 'reason approved expires used', 'Why, when, until when, and whether it was used', 'audit', false),
    ('heeded', 'tenant', 'Whose row it is', 'record', false),
    ('heeded', 'label', 'Which act of a person has had its effect', 'record', false),
    ('escalation', 'tenant', 'Whose row it is', 'record', false),
    ('escalation', 'incident level since policy', 'How high an unanswered incident has climbed, and by which rule', 'record',
        false),
    ('escalation', 'stopped stopped_by', 'When and by which act or state it was answered', 'record', false),
    ('notice', 'round', 'Which telling of the same state it is', 'record', false),
    ('notice', 'receipt', 'How its channel knows the message, to update it', 'record', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
