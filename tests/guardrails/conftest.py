"""Fault tests of the guardrails. `--guard NAME` chooses one guard's; `--guard-off NAME` switches that guard off.

With a guard off its fault tests must fail: prove.py (`make guards`) demands it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guard", default=None, help="only the fault tests of the guardrail of this name")
    parser.addoption("--guard-off", default=None, help="switch the guardrail of this name off")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "guard(name): the fault test of the guardrail of that name")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("guard", default=None)
    if wanted is not None:
        items[:] = [item for item in items if any(mark.args == (wanted,) for mark in item.iter_markers("guard"))]


@pytest.fixture(autouse=True)
def guards_in_force(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the guard that is to be off out of the list that is asked."""
    off = request.config.getoption("guard_off", default=None)
    if off is not None:
        from policy import guardrails

        left = tuple(guard for guard in guardrails.GUARDS if guard.name != off)
        assert len(left) == len(guardrails.GUARDS) - 1, f"there is no guard {off}"
        monkeypatch.setattr(guardrails, "GUARDS", left)
