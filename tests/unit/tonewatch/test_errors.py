"""One tree of errors, drawn in its own docstring."""

from __future__ import annotations

import inspect
import re

import pytest

from tonewatch import errors
from tonewatch.errors import TonewatchError

ALL = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, TonewatchError)]


def drawn_parents() -> dict[str, str]:
    """The tree in the module's docstring: error -> the error it hangs on."""
    parents: dict[str, str] = {}
    open_branches = ["TonewatchError"]
    for line in (errors.__doc__ or "").splitlines():
        if branch := re.match(r"([│ ]*)[├└]── (\w+)", line):
            depth = len(branch[1]) // 4 + 1
            open_branches[depth:] = [branch[2]]
            parents[branch[2]] = open_branches[depth - 1]
    return parents


def test_the_drawing_is_the_tree() -> None:
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in ALL if kind is not TonewatchError}
    assert drawn_parents() == real


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_message_and_ends_a_command_with_failure(kind: type[TonewatchError]) -> None:
    error = kind("the disk is full; make room and try again")
    assert str(error) == "the disk is full; make room and try again"
    assert error.exit_status > 0


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_says_what_it_stands_for(kind: type[TonewatchError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ is not kind.__bases__[0].__doc__


def test_what_a_user_wrote_wrongly_ends_with_two() -> None:
    assert {kind.__name__ for kind in ALL if kind.exit_status == 2} >= {"SettingsError", "FaultError"}
