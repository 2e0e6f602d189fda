"""What a run came to, as scripts and as people read it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.demo.scoring import FaultResult, Seen
from console.demo.summary import Summary, lines
from tonewatch.records import Incident, IncidentState

CRASH = FaultResult(
    name="transcoder-crash",
    is_fault=True,
    detected_s=6.2,
    cause_named="component:transcoder-ch1:crash",
    cause_true="component:transcoder-ch1:crash",
    action="restart component:transcoder-ch1",
    impact_ended_s=27.94,
    verdict="worked",
    controlled=True,
    listener_minutes_lost=2.345,
    incident_id="i1",
)


@pytest.fixture
def good() -> Summary:
    return Summary(
        seed=1,
        faults=(CRASH,),
        false=(),
        host_starved_s=2.0,
        lasted_s=300.0,
        started_s={"postgres": 2.5},
        memory_mib={"postgres": 80.04},
        mails=3,
        paths={"mailbox": Path("demo-out/mailbox")},
        addresses={"prefect": "http://127.0.0.1:4200"},
    )


def test_document_has_the_published_keys(good: Summary) -> None:
    document = json.loads(json.dumps(good.to_json()))
    published = {"faults", "false_incidents", "host_starved_s", "started_s", "memory_mib", "versions"}
    assert published <= document.keys()
    assert set(document["faults"][0]) - {"failures"} == {
        "name",
        "is_fault",
        "detected_s",
        "cause_named",
        "cause_true",
        "action",
        "impact_ended_s",
        "verdict",
        "controlled",
        "listener_minutes_lost",
        "incident_id",
    }
    assert set(document["versions"]) == {
        "tonewatch",
        "python",
        "prefect",
        "mlflow",
        "scikit-learn",
        "postgres",
        "redis",
    }
    assert document["false_incidents"] == 0
    assert document["exit_status"] == 0


def test_table_tells_each_thing(good: Summary) -> None:
    text = "\n".join(lines(good))
    for told in ("6.2 s", "27.9 s", "2.35 min", "worked (controlled)", "passed", "demo-out/mailbox", ":4200", "80 MiB"):
        assert told in text
    assert "VOID" not in text


def test_table_tells_why_a_fault_failed(good: Summary) -> None:
    missed = replace(CRASH, detected_s=None, verdict=None, action=None, cause_named=None, failures=("missed",))
    text = "\n".join(lines(replace(good, faults=(missed,))))
    assert "failed: missed" in text
    assert "none" in text
    assert replace(good, faults=(missed,)).exit_status == 1


def test_run_on_a_starved_machine_is_said_to_be_void(good: Summary) -> None:
    assert "VOID" in "\n".join(lines(replace(good, host_starved_s=16.0)))


def test_false_incident_is_named_and_fails(good: Summary) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    seen = Seen(Incident("i2", "demo", IncidentState.OPEN, noon, noon, "no\x1b sound", ("channel:ch2",)))
    failed = replace(good, false=(seen,))
    assert "\x1b" not in "\n".join(lines(failed))
    assert "(i2; channel:ch2)" in "\n".join(lines(failed))
    assert failed.exit_status == 1
