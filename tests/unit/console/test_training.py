"""`tonewatch train MODEL`: what a MODEL asks of the flow."""

from __future__ import annotations

import pytest

from console.training import asked
from tonewatch.errors import ModelError


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("all", {}),
        ("edge", {"families": ["edge"]}),
        ("edge/row-ensemble", {"families": ["edge"], "kind": "row-ensemble"}),
        ("lstm-forecast", {"kind": "lstm-forecast"}),
    ],
)
def test_a_model_is_a_family_a_kind_or_both(model: str, parameters: dict[str, object]) -> None:
    assert asked(model) == parameters


def test_what_is_neither_is_told_with_what_there_is() -> None:
    with pytest.raises(ModelError, match="'egde' is no model; families are source"):
        asked("egde")
    with pytest.raises(ModelError, match="no kind of model 'magic'; kinds are isolation-forest"):
        asked("edge/magic")
