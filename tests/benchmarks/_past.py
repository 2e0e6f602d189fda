"""A past for a hundred tenants, written by the database itself: samples, incidents with their stories, listening."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg

TENANTS = 100
SERIES = 100
#: How many listen around the clock, and how often each reports.
LISTENERS, REPORT_S = 5, 30
STEP_S = 15

PEOPLE = """
    insert into tenant (tenant, name, profile, created)
    select format('tenant-%%s', n), 'a radio', 'platform', %(now)s from generate_series(1, %(tenants)s) n
"""
SERIES_SQL = """
    insert into series (tenant, id, entity, metric, labels, unit, kind, first_seen)
    select %(tenant)s, s, format('component:part-%%s', s %% 20), format('metric_%%s', s), '[]', '', 'gauge', %(now)s
    from generate_series(1, %(series)s) s
"""
SAMPLES = """
    insert into sample (tenant, retention, series, time, value)
    select %(tenant)s, 'hot', s, %(now)s - m * make_interval(secs => %(step)s), m
    from generate_series(1, %(series)s) s, generate_series(1, %(each)s) m
"""
REPORTS = """
    insert into session_report (tenant, session, sequence, arrived, channel, edge, time, event, state, starved_ms,
        startup_ms, latency_ms, buffer_ms, throughput_kbps, bitrate_kbps)
    select %(tenant)s, format('listener-%%s', l), m, at, format('channel:ch%%s', 1 + l %% 2), 'edge:edge-1', at, 't',
        'p', case when (l * 7919 + m) %% 997 = 0 then 4000 else 0 end, null, 4000, 8000, 900, 128
    from generate_series(1, %(listeners)s) l, generate_series(1, 86400 / %(report)s) m,
        lateral (select %(now)s - interval '1 day' + m * make_interval(secs => %(report)s)) as moment (at)
"""
INCIDENTS = """
    insert into incident (tenant, id, state, onset, opened, title, entities, impact_started, impact_ended,
        listener_minutes_lost, loss_basis, severity, incident_class, closed)
    select %(tenant)s, md5(%(tenant)s || n), case when n <= 2 then 'handed-over' else 'closed' end, at,
        at + interval '5 seconds', format('part-%%s has ended', n %% 20),
        array[format('component:part-%%s', n %% 20), 'channel:ch1', 'edge:edge-1'], at + interval '2 seconds',
        at + interval '40 seconds', 6.5, 'measured', (array['minor', 'major', 'critical'])[1 + n %% 3], 'availability',
        case when n <= 2 then null else at + interval '10 minutes' end
    from generate_series(1, %(incidents)s) n,
        lateral (select %(now)s - (n - 0.5) * interval '30 days' / %(incidents)s) as moment (at)
"""
# Five findings of each incident, and as many again that belong to none.
FINDINGS = """
    insert into finding (tenant, id, entity, detector, kind, started, ended, summary, symptom, expected, actual, score,
        rate, features, model_version, evidence)
    select tenant, md5(id || f), entities[1 + f %% 3], 'rule:scrape-down', case when f <= 5 then 'rule' else 'data' end,
        onset, onset + f * interval '1 second', 'it does not answer', 'scrape-refused', 'an answer', 'refused', 1, null,
        '{"up": 0.0, "rate": 12.5}', null, array['log']
    from incident, generate_series(1, 10) f where tenant = %(tenant)s
"""
PLACED = """
    insert into incident_finding (tenant, incident, finding)
    select tenant, id, md5(id || f) from incident, generate_series(1, 5) f where tenant = %(tenant)s
"""
CAUSES = """
    insert into cause (tenant, incident, rank, entity, kind, confidence, evidence, path, named)
    select tenant, id, r, entities[r], (array['crash', 'hang', 'unknown'])[r], 0.9 / r,
        array['its process has ended', 'nothing upstream has changed'], entities, opened
    from incident, generate_series(1, 3) r where tenant = %(tenant)s
"""
ACTIONS = """
    insert into action (tenant, key, incident, runbook, target, attempt, state, autonomy, parameters, guards, intended,
        started, finished, undo, detail)
    select tenant, md5(id || 'restart' || a), id, 'restart', entities[1], a,
        case when a = 1 then 'finished' else 'refused' end, 'act', '{}',
        (select jsonb_agg(jsonb_build_object('guard', format('guard-%%s', g), 'allowed', a = 1, 'reason', 'as it is'))
            from generate_series(1, 15) g),
        opened + a * interval '2 seconds', opened + interval '3 seconds', opened + interval '5 seconds', '', ''
    from incident, generate_series(1, 2) a where tenant = %(tenant)s
"""
VERDICTS = """
    insert into verdict (tenant, action, incident, outcome, controlled, decided, slis, reason)
    select tenant, key, incident, 'worked', false, finished + interval '30 seconds',
        '{"stalls": {"before": 3.0, "after": 0.0}}', 'back in band'
    from action where tenant = %(tenant)s and state = 'finished'
"""
NOTICES = """
    insert into notice (tenant, id, incident, incident_state, level, channel, subject, body, html, created, state,
        attempts, next_attempt, sent, last_error, round, receipt)
    select tenant, md5(id || s), id, s, 'L1', 'email', title, repeat('what happened, and what can be done. ', 40),
        repeat('<p>what happened, and what can be done</p>', 60), opened, 'sent', 1, null, opened, '', 1, ''
    from incident, unnest(array['opened', 'acted', 'mended']) s where tenant = %(tenant)s
"""
LABELS = """
    insert into label (tenant, id, subject_kind, subject, value, who, reason, time)
    select tenant, md5(id || v), 'incident', id, v, 'ann', 'seen in its log', opened + interval '1 hour'
    from incident, unnest(array['close', 'verdict:real']) v where tenant = %(tenant)s and state = 'closed'
"""
AUDIT = """
    insert into audit (tenant, time, who, what, subject, before, after, reason)
    select tenant, opened + n * interval '1 second', 'watcher', 'incident.state', id, '{"state": "open"}',
        jsonb_build_object('state', (array['diagnosed', 'acting', 'verifying', 'mended'])[1 + n %% 4]), ''
    from incident, generate_series(1, 10) n where tenant = %(tenant)s
"""
ESCALATIONS = """
    insert into escalation (tenant, incident, level, since, policy, stopped, stopped_by)
    select tenant, id, 'L1', opened, '{}', closed, case when closed is null then '' else 'mended' end
    from incident where tenant = %(tenant)s
"""
STORY = (INCIDENTS, FINDINGS, PLACED, CAUSES, ACTIONS, VERDICTS, NOTICES, LABELS, AUDIT, ESCALATIONS)


def shares(incidents: int, tenants: int = TENANTS) -> list[int]:
    """How many of the incidents each tenant has: the n-th about 1/n of the first's, as customers' sizes differ."""
    weights = [1 / n for n in range(1, tenants + 1)]
    counts = [max(1, round(incidents * weight / sum(weights))) for weight in weights]
    counts[0] += incidents - sum(counts)
    return counts


def write(url: str, now: datetime, samples: int, incidents: int, say: Callable[[str], None]) -> None:
    """Write it all as the owner of the database at `url`, the past before `now`."""
    each = samples // (TENANTS * SERIES)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(PEOPLE, {"now": now, "tenants": TENANTS})
        days = {(now - timedelta(seconds=step * STEP_S)).date() for step in range(each + 1)}
        for day in sorted(days):
            db.execute("select ensure_sample_partition('hot', %s)", [day])
        for number, count in enumerate(shares(incidents), start=1):
            values = {"tenant": f"tenant-{number}", "now": now, "incidents": count, "series": SERIES, "each": each}
            values |= {"step": STEP_S, "listeners": LISTENERS, "report": REPORT_S}
            with db.transaction():
                for statement in (SERIES_SQL, SAMPLES, REPORTS, *STORY):
                    db.execute(statement, values)
            if number % 20 == 0:
                say(f"{number} of {TENANTS} tenants have a past")
        db.execute("vacuum (analyze)")
        db.execute("checkpoint")
