"""Evidently: what its plain drift preset says of the same windows, and its page of pictures for people.

The decision is ml/drift.py's: the preset takes windows for independent and knows no season. The library takes ten
seconds and more to import, and a light install does without: it is imported where it is used.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
#: What the library lets through from what it is made of.
FAILURES = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_WHOLE, _COLUMN = "evidently:metric_v2:DriftedColumnsCount", "evidently:metric_v2:ValueDrift"


@dataclass(frozen=True, slots=True)
class Report:
    """drifted: whether the preset calls the whole drifted (half of the columns); columns: name -> (distance, whether
    that is beyond its threshold); html: a page of some megabytes, empty unless asked for.
    """

    drifted: bool
    columns: dict[str, tuple[float, bool]]
    html: str


def installed() -> bool:
    """Whether the optional group `learning`, which has Evidently, is there."""
    return importlib.util.find_spec("evidently") is not None


def report(names: Sequence[str], reference: Floats, current: Floats, *, html: bool = False) -> Report:
    """The preset on both, (rows, features) each; columns without a number in one of them are left out.

    Takes 2 to 5 s. Raises ModelError: the library cannot be imported (ask `installed` before), fails, or there is no
    column with numbers in both.
    """
    some = [at for at in range(len(names)) if np.isfinite(reference[:, at]).any() and np.isfinite(current[:, at]).any()]
    if not some:
        raise ModelError("Evidently has nothing to compare: no feature has numbers in both, reference and current")
    # Read by the library whenever it would tell its makers that it is used: any value keeps it silent.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        return _run([names[at] for at in some], reference[:, some], current[:, some], html)
    except FAILURES as error:
        why = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"Evidently made no report ({type(error).__name__}: {why}); where it is not installed: make learning"
        ) from error


def _run(names: Sequence[str], reference: Floats, current: Floats, html: bool) -> Report:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own dependencies, and of constant columns
        import pandas as pd
        from evidently import DataDefinition, Dataset
        from evidently import Report as Evidently
        from evidently.presets import DataDriftPreset

        columns = DataDefinition(numerical_columns=list(names))
        now, then = (
            Dataset.from_pandas(pd.DataFrame(each, columns=list(names)), columns) for each in (current, reference)
        )
        made = Evidently([DataDriftPreset()]).run(now, then)
        metrics: list[dict[str, Any]] = made.dict()["metrics"]
        page = str(made.get_html_str(as_iframe=False)) if html else ""
    whole = next(each for each in metrics if each["config"]["type"] == _WHOLE)
    return Report(
        float(whole["value"]["share"]) >= float(whole["config"]["drift_share"]),
        {each["config"]["column"]: _column(each) for each in metrics if each["config"]["type"] == _COLUMN},
        page,
    )


def _column(metric: dict[str, Any]) -> tuple[float, bool]:
    """Its distance, and whether it is beyond the threshold; of a test that gives a p-value, whether it is below."""
    value, threshold = float(metric["value"]), float(metric["config"]["threshold"])
    chance = "p_value" in str(metric["config"]["method"])
    return value, value < threshold if chance else value >= threshold
