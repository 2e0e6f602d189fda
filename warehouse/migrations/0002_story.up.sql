-- The story as in 0001, with what people did. create or replace: who may read it stays.
create or replace view incident_story with (security_invoker = true) as
with line (tenant, incident, time, step, place, what, detail) as (
    select f.tenant, l.incident, f.ended, 'detect', 1, f.summary,
        jsonb_build_object('finding', f.id, 'entity', f.entity, 'detector', f.detector, 'kind', f.kind,
            'symptom', f.symptom, 'started', f.started, 'expected', f.expected, 'actual', f.actual, 'score', f.score)
    from incident_finding l join finding f on f.tenant = l.tenant and f.id = l.finding
    union all
    select i.tenant, i.id, i.opened, 'correlate', 2, i.title,
        jsonb_build_object('state', i.state, 'onset', i.onset, 'entities', i.entities, 'severity', i.severity,
            'class', i.incident_class, 'impact_started', i.impact_started, 'impact_ended', i.impact_ended,
            'listener_minutes_lost', i.listener_minutes_lost, 'loss_basis', i.loss_basis)
    from incident i
    union all
    select c.tenant, c.incident, coalesce(c.named, i.opened), 'diagnose', 3,
        format('%s:%s (rank %s, confidence %s)', c.entity, c.kind, c.rank, round(c.confidence::numeric, 2)),
        jsonb_build_object('cause', c.entity || ':' || c.kind, 'rank', c.rank, 'confidence', c.confidence,
            'evidence', c.evidence, 'path', c.path)
    from cause c join incident i on i.tenant = c.tenant and i.id = c.incident
    union all
    select a.tenant, a.incident, coalesce(a.intended, a.started, a.finished, i.opened), 'decide', 4,
        format('%s %s (%s, attempt %s)%s', a.runbook, a.target, a.autonomy, a.attempt,
            case when a.state = 'refused' then ' refused' else '' end),
        jsonb_build_object('action', a.key, 'state', a.state, 'guards', a.guards, 'parameters', a.parameters,
            'undo', a.undo, 'detail', a.detail)
    from action a join incident i on i.tenant = a.tenant and i.id = a.incident
    union all
    select a.tenant, a.incident, a.started, 'act', 5, format('%s %s started', a.runbook, a.target),
        jsonb_build_object('action', a.key)
    from action a where a.started is not null
    union all
    select a.tenant, a.incident, a.finished, 'act', 6, format('%s %s %s', a.runbook, a.target, a.state),
        jsonb_build_object('action', a.key, 'detail', a.detail)
    from action a where a.finished is not null and a.state <> 'refused'
    union all
    select v.tenant, v.incident, v.decided, 'verify', 7,
        format('%s%s%s', v.outcome, case when v.controlled then ' (controlled)' else ' (uncontrolled)' end,
            case when v.reason = '' then '' else ': ' || v.reason end),
        jsonb_build_object('action', v.action, 'outcome', v.outcome, 'controlled', v.controlled, 'slis', v.slis)
    from verdict v
    union all
    select n.tenant, n.incident, coalesce(n.sent, n.created, i.opened), 'notify', 8, format('%s: %s', n.channel, n.subject),
        jsonb_build_object('notice', n.id, 'level', n.level, 'state', n.state, 'tells_of', n.incident_state,
            'attempts', n.attempts, 'last_error', n.last_error)
    from notice n join incident i on i.tenant = n.tenant and i.id = n.incident
    union all
    select l.tenant, coalesce(a.incident, l.subject), l.time, 'answer', 9, format('%s: %s', l.who, l.value),
        jsonb_build_object('label', l.id, 'value', l.value, 'who', l.who, 'reason', l.reason, 'action', a.key,
            'heeded', h.label is not null)
    from label l
    left join action a on l.subject_kind = 'action' and a.tenant = l.tenant and a.key = l.subject
    left join heeded h on h.tenant = l.tenant and h.label = l.id
    where l.subject_kind = 'incident' or a.key is not null
)
select tenant, incident, time, step, what, detail from line order by tenant, incident, time, place, what;
