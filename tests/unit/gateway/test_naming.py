"""Which entity a pushed series belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.naming import UNNAMED, Naming
from gateway.remote_write import Labelled
from tonewatch.records import ENTITY_ID
from tonewatch.settings import NamingRule


def entity(*rules: NamingRule, **labels: str) -> str:
    return Naming(rules).entity(Labelled("up", tuple(sorted(labels.items()))))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"job": "edge", "instance": "10.0.0.1:9100"}, "component:edge/10.0.0.1-9100"),
        ({"job": "edge"}, "service:edge"),
        ({}, UNNAMED),
        ({"job": "...", "instance": ""}, UNNAMED),
        ({"job": "x", "tonewatch_entity": "edge:edge-1"}, "edge:edge-1"),
        ({"job": "x", "tonewatch_entity": "no entity"}, "service:x"),
    ],
)
def test_labels_name_the_entity(labels: dict[str, str], expected: str) -> None:
    assert entity(**labels) == expected


def test_the_first_rule_that_fits_names_it() -> None:
    rules = (
        NamingRule(match={"pod": "edge-.*"}, entity="edge:{pod}"),
        NamingRule(match={"pod": ".+"}, entity="component:{pod}"),
    )
    assert entity(*rules, pod="edge-7", job="x") == "edge:edge-7"
    assert entity(*rules, pod="my-edge-7", job="x") == "component:my-edge-7"
    assert entity(*rules, job="x") == "service:x"


@pytest.mark.parametrize(
    "rule", [{"match": {"a": "("}, "entity": "edge:x"}, {"match": {}, "entity": "{a}:x"}, {"match": {}, "entity": "x"}]
)
def test_a_rule_that_can_not_work_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NamingRule.model_validate(rule)


@given(st.dictionaries(st.sampled_from(["job", "instance", "pod", "tonewatch_entity"]), st.text(max_size=300)))
def test_whatever_the_labels_the_entity_is_one(labels: dict[str, str]) -> None:
    found = entity(NamingRule(match={"pod": "(?s).+"}, entity="component:{pod}"), **labels)
    assert ENTITY_ID.fullmatch(found)
    assert len(found) <= 200
