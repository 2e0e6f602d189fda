"""Examples for /openapi.json of what is told; a test holds them against what is really told."""

from __future__ import annotations

from typing import Any, Final

_ONSET = "2026-01-31T12:00:00+00:00"
_OPENED = "2026-01-31T12:00:04+00:00"
_DONE = "2026-01-31T12:00:09+00:00"
_BACK = "2026-01-31T12:00:41+00:00"
_CLOSED = "2026-01-31T12:03:00+00:00"
_PART = "component:transcoder-ch1"

GLANCE: Final[dict[str, Any]] = {
    "id": "5f0c1d",
    "state": "closed",
    "onset": _ONSET,
    "opened": _OPENED,
    "impact_ended": _BACK,
    "closed": _CLOSED,
    "title": "transcoder-ch1 has ended",
    "entities": [_PART, "channel:ch1"],
    "severity": "major",
    "listener_minutes_lost": 6.4,
    "cause": f"{_PART}:crash",
    "verdict": "worked",
    "level": "L1",
    "answered": "mended",
}
FINDING: Final[dict[str, Any]] = {
    "id": "9a3e",
    "entity": _PART,
    "detector": "rule:scrape-down",
    "kind": "rule",
    "started": _ONSET,
    "ended": "2026-01-31T12:00:03+00:00",
    "summary": "transcoder-ch1 does not answer",
    "symptom": "scrape-refused",
    "expected": "an answer",
    "actual": "refused",
    "score": 1.0,
    "rate": None,
    "features": {"up": 0.0},
    "model_version": None,
    "evidence": [],
}
VERDICT: Final[dict[str, Any]] = {
    "outcome": "worked",
    "controlled": True,
    "decided": _CLOSED,
    "slis": {"stalls": {"before": 3.0, "after": 0.0}},
    "reason": "back in band",
}
ACTION: Final[dict[str, Any]] = {
    "key": "77d0",
    "incident": "5f0c1d",
    "runbook": "restart",
    "target": _PART,
    "attempt": 1,
    "state": "finished",
    "autonomy": "act",
    "parameters": {},
    "guards": [{"guard": "grant", "allowed": True, "reason": "the owner's"}],
    "intended": "2026-01-31T12:00:07+00:00",
    "started": "2026-01-31T12:00:08+00:00",
    "finished": _DONE,
    "undo": "",
    "detail": "",
    "verdict": VERDICT,
}
CASE: Final[dict[str, Any]] = {
    "incident": {
        "id": "5f0c1d",
        "state": "closed",
        "onset": _ONSET,
        "opened": _OPENED,
        "title": "transcoder-ch1 has ended",
        "entities": [_PART, "channel:ch1"],
        "impact_started": "2026-01-31T12:00:02+00:00",
        "impact_ended": _BACK,
        "listener_minutes_lost": 6.4,
        "loss_basis": "measured",
        "severity": "major",
        "incident_class": "availability",
        "closed": _CLOSED,
    },
    "causes": [
        {
            "name": f"{_PART}:crash",
            "rank": 1,
            "entity": _PART,
            "kind": "crash",
            "confidence": 0.9,
            "evidence": ["its process has ended"],
            "path": [_PART, "channel:ch1"],
        }
    ],
    "findings": [FINDING],
    "actions": [ACTION | {"approvals": []}],
    "notices": [
        {
            "id": "c1b2",
            "incident_state": "opened",
            "level": "L1",
            "channel": "email",
            "subject": "[Tonewatch] major: transcoder-ch1 has ended",
            "created": _OPENED,
            "state": "sent",
            "attempts": 1,
            "sent": "2026-01-31T12:00:06+00:00",
            "last_error": "",
            "round": 1,
        }
    ],
    "people": [
        {
            "id": "e0f1",
            "subject_kind": "incident",
            "subject": "5f0c1d",
            "value": "ack",
            "who": "ann",
            "reason": "I am at it",
            "time": _DONE,
        }
    ],
    "story": [
        {"time": _OPENED, "step": "correlate", "what": "transcoder-ch1 has ended", "detail": {"state": "closed"}}
    ],
}
AUDIT: Final[dict[str, Any]] = {
    "seq": 4711,
    "time": _DONE,
    "who": "ann",
    "what": "incident.ack",
    "subject": "5f0c1d",
    "before": {"state": "acting"},
    "after": {"labels": ["ack"]},
    "reason": "I am at it",
}
LISTENING: Final[dict[str, Any]] = {
    "availability": 0.999913,
    "met": True,
    "due_minutes": 86_400.0,
    "lost_minutes": 7.5,
    "allowed_minutes": 8.64,
    "budget_spent": 0.868,
}
_SPAN: Final = {"since": "2026-01-30T12:00:00+00:00", "until": "2026-01-31T12:00:00+00:00"}
SLOS: Final[dict[str, Any]] = {
    **_SPAN,
    "slo": 0.9999,
    "total": LISTENING,
    "channels": {"channel:ch1": LISTENING},
}
_SAVED: Final = {"count": 2, "minutes": 41.5, "inferred_minutes": 0.0, "unknown": 0}
MINUTES: Final[dict[str, Any]] = {
    **_SPAN,
    "due_minutes": 86_400.0,
    "lost_minutes": 7.5,
    "saved_minutes": 41.5,
    "incidents": 3,
    "lost_by_basis": {"measured": 6.4, "probe": 0.0},
    "controlled": _SAVED,
    "uncontrolled": {"count": 0, "minutes": 0.0, "inferred_minutes": 0.0, "unknown": 1},
    "person_minutes": 15.0,
    "person_cases": 0,
}
