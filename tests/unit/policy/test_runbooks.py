from __future__ import annotations

from collections import Counter

import pytest

from policy.autonomy import covers, granted
from policy.runbooks import RUNBOOKS, Runbook, for_cause, named
from tonewatch.records import Cause, CauseKind
from tonewatch.settings import CoolDowns, Guardrails, load_profile

CAUSE = Cause("i1", 1, "component:transcoder-ch1", CauseKind.CRASH, 0.97)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (CauseKind.CRASH, "restart"),
        (CauseKind.HANG, "kill-and-restart"),
        (CauseKind.SOURCE_SILENT, "switch-input"),
        (CauseKind.BAD_RELEASE, "rollback"),
        (CauseKind.BAD_CONFIG, "rollback"),
        (CauseKind.LATENCY, "drain"),
    ],
)
def test_a_cause_has_its_runbook(kind: CauseKind, name: str) -> None:
    assert for_cause(kind) == named(name) != None  # noqa: E711 - a chain: the same, and there


@pytest.mark.parametrize("kind", [CauseKind.UNKNOWN, CauseKind.PLANNED_WORK, CauseKind.HOST_STARVED, CauseKind.ATTACK])
def test_a_cause_that_a_person_has_to_see_to_has_none(kind: CauseKind) -> None:
    assert for_cause(kind) is None


def test_no_cause_has_two_runbooks() -> None:
    assert max(Counter(kind for runbook in RUNBOOKS for kind in runbook.causes).values()) == 1


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.name)
def test_every_runbook_rests_as_the_profile_says_by_default(runbook: Runbook) -> None:
    assert Guardrails().cool_down_seconds.of(runbook.name) == runbook.cool_down_s > 0
    assert runbook.undo.startswith("none") != runbook.reversible


def test_a_rest_belongs_to_a_runbook_that_there_is() -> None:
    assert {name.replace("_", "-") for name in CoolDowns.model_fields} == {runbook.name for runbook in RUNBOOKS}
    assert CoolDowns().of("reboot") is None


def test_the_demos_owner_grants_every_runbook_for_its_causes() -> None:
    demo = load_profile("demo")
    entity = {"switch-input": "component:source-ch1-primary", "drain": "edge:edge-1"}
    for runbook in RUNBOOKS:
        for kind in runbook.causes:
            cause = Cause("i1", 1, entity.get(runbook.name, "component:packager"), kind, 0.97)
            grant = granted(demo, runbook.name, cause)
            assert grant is not None
            assert covers(grant, runbook.name, cause)


def test_a_grant_covers_only_what_it_names() -> None:
    demo = load_profile("demo")
    assert granted(demo, "restart", Cause("i1", 1, CAUSE.entity, CauseKind.OVERLOAD, 0.97)) is None
    assert granted(demo, "rollback", CAUSE) is None
    assert granted(load_profile("platform"), "restart", CAUSE) is None
    assert granted(demo, "restart", Cause("i1", 1, "channel:ch1", CauseKind.CRASH, 0.97)) is None


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda each: each.name)
def test_a_runbook_says_what_it_must_be_allowed_to_do(runbook: Runbook) -> None:
    assert runbook.needs
    assert all("TONEWATCH_SUPERVISOR_URL" in each or "inventory" in each for each in runbook.needs)
