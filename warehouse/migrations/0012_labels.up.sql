-- What stands behind people's labels, what their authors are worth, what is to be asked next; and which models learned
-- from whom.

-- What the author of a label saw when he gave it: the findings of the incident, by which model and with what score.
create table label_evidence (
    tenant text not null,
    label text not null,
    incident text not null,
    saw jsonb not null,  -- [{finding, detector, kind, model_version, score}]
    primary key (tenant, label),
    foreign key (tenant, label) references label (tenant, id)
);

-- One row whenever the opinion of an author changed; the newest holds. weight: log-odds of his accuracy, 0 in quarantine.
create table author_weight (
    tenant text not null references tenant,
    author text not null,
    made timestamptz not null,
    weight double precision not null check (weight >= 0),
    accuracy double precision not null check (accuracy between 0 and 1),
    compared double precision not null check (compared >= 0),
    votes integer not null check (votes >= 0),
    quarantined boolean not null,
    reason text not null,
    primary key (tenant, author, made)
);

-- What people are to be asked. subject: an incident, or what two models disagree on; shown: what is to be told of it.
-- answered: when it was, or when nothing was to be asked any more.
create table question (
    tenant text not null references tenant,
    id text not null,
    subject_kind text not null check (subject_kind in ('incident', 'disagreement')),
    subject text not null,
    title text not null,
    why text not null,
    worth double precision not null check (worth >= 0),
    shown jsonb not null,
    asked timestamptz not null,
    answered timestamptz,
    primary key (tenant, id)
);
create index question_open on question (tenant, worth desc) where answered is null;

-- What a version of a model learned from. sets: the training sets, [{name, version, hash}]; entities: whose rows;
-- subjects: the pseudonyms whose rows they are, or made of; sources: the tables read, table -> what of it.
create table model_lineage (
    tenant text not null references tenant,
    model text not null,
    version text not null,
    run text not null,
    trained timestamptz not null,
    started timestamptz not null,
    ended timestamptz not null check (ended >= started),
    data_hash text not null,
    sets jsonb not null,
    entities text[] not null,
    subjects text[] not null,
    sources jsonb not null,
    primary key (tenant, model, version)
);

-- A version that may score no more. Every tenant has its own row: its watcher reads it, and the row outlives the tenant
-- that the version had learned from.
create table retired_model (
    tenant text not null references tenant,
    model text not null,
    version text not null,
    retired timestamptz not null,
    reason text not null,
    primary key (tenant, model, version)
);

-- A model that is to be trained again, without what it must not have seen. taken: when a training took it up.
create table retraining (
    tenant text not null references tenant,
    model text not null,
    requested timestamptz not null,
    reason text not null,
    taken timestamptz,
    primary key (tenant, model, requested)
);
create unique index retraining_waiting on retraining (tenant, model) where taken is null;

select isolate_by_tenant('label_evidence'), isolate_by_tenant('author_weight'), isolate_by_tenant('question'),
    isolate_by_tenant('model_lineage'), isolate_by_tenant('retired_model'), isolate_by_tenant('retraining');

grant select, insert on label_evidence, author_weight, question, model_lineage, retired_model, retraining
    to tonewatch_app;
grant update (title, why, worth, shown, answered) on question to tonewatch_app;
grant update (taken) on retraining to tonewatch_app;

insert into column_registry (table_name, column_name, purpose, retention, personal)
select table_name, column_name, purpose, retention, personal
from (values
    ('label_evidence', 'tenant', 'Whose row it is', 'record', false),
    ('label_evidence', 'label incident saw', 'What the author of a label saw when he gave it', 'record', false),
    ('author_weight', 'tenant', 'Whose row it is', 'record', false),
    ('author_weight', 'author', 'Which operator', 'record', true),
    ('author_weight', 'made reason', 'When and why the opinion of him changed', 'record', false),
    ('author_weight', 'weight accuracy compared votes quarantined', 'How far his labels are believed', 'record', false),
    ('question', 'tenant', 'Whose row it is', 'record', false),
    ('question', 'id subject_kind subject title why worth shown', 'What people are to be asked, and why', 'record', false),
    ('question', 'asked answered', 'Since when, and when that was done', 'record', false),
    ('model_lineage', 'tenant', 'Whose row it is', 'record', false),
    ('model_lineage', 'model version run trained', 'Which version of which model', 'record', false),
    ('model_lineage', 'started ended data_hash sets entities sources', 'What it learned from', 'record', false),
    ('model_lineage', 'subjects', 'Whose rows it learned from: keyed pseudonyms', 'record', true),
    ('retired_model', 'tenant', 'Whose row it is', 'record', false),
    ('retired_model', 'model version retired reason', 'Which version may score no more, and why', 'record', false),
    ('retraining', 'tenant', 'Whose row it is', 'record', false),
    ('retraining', 'model requested reason taken', 'What is to be trained again, why, and whether it was', 'record', false)
) as entry (table_name, column_names, purpose, retention, personal)
cross join lateral string_to_table(column_names, ' ') as column_name;
