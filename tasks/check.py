"""Step 2: hold what came in against the telemetry contracts; bad data stops here as a Finding of its own kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from policy import contracts
from policy.conditions import Condition
from tonewatch.records import Sample


def check(samples: Sequence[Sample], window: tuple[datetime, datetime]) -> tuple[list[Sample], list[Condition]]:
    """The samples that can be used, and what is wrong with the rest. `window`: from the last tick to this one."""
    checked = contracts.check(samples, window[1])
    return checked.samples, contracts.conditions(checked, window)
