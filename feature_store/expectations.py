"""The contracts of contracts.py as Great Expectations sees them: for batches in a flow, and as their oracle in a test.

The library takes eight seconds to import, and a light install does without: it is imported where it is used.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_store.contracts import Breach, Clause, Contract
from feature_store.windows import Floats, Indexes
from tonewatch.clock import microseconds
from tonewatch.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The column that holds ends of windows, in microseconds since 1970; no feature may be called so.
TIME = "window_end"
#: What the library lets through from what it is made of, besides errors of its own.
FAILURES = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def installed() -> bool:
    """Whether the optional group `learning`, which has Great Expectations, is there."""
    return importlib.util.find_spec("great_expectations") is not None


def validate(
    held: Contract, names: Sequence[str], values: Floats, times: Indexes, now: datetime, docs: Path | None = None
) -> list[Breach]:
    """What `contracts.breaches` says of the same rows, by Great Expectations; units, which no number tells, apart.

    values: (rows, features); times: (rows,), microseconds since 1970; docs: an empty folder for its Data Docs of
    these rows. Takes half a second for 100,000 rows, and eight to import. Raises FeatureError:
    the library cannot be imported (ask `installed` before), or fails.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read by the library as it is imported
    try:
        import great_expectations as gx
        import pandas as pd
    except ImportError as error:
        raise FeatureError(f"Great Expectations cannot be imported ({error}): make learning") from error
    try:
        frame = pd.DataFrame(values, columns=list(names))
        frame[TIME] = times
        rows = _results(gx, held, frame, now, docs)
    except (gx.exceptions.GreatExpectationsError, *FAILURES) as error:
        why = (str(error).splitlines() or [""])[0]
        raise FeatureError(
            f"Great Expectations gave up on {held.view} ({type(error).__name__}: {why}); "
            "the contracts were held against the rows without it"
        ) from error
    columns = [breach for row in rows for breach in _breach(row, len(values)) if breach.clause is Clause.COLUMNS]
    # Of columns that are not there nothing else can be said.
    return columns or [breach for row in rows for breach in _breach(row, len(values))]


def _results(gx: Any, held: Contract, frame: Any, now: datetime, docs: Path | None) -> list[Mapping[str, Any]]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas(held.view)
    batch = source.add_dataframe_asset(held.view).add_batch_definition_whole_dataframe(held.view)
    suite = gx.ExpectationSuite(name=held.view, expectations=list(_expectations(gx.expectations, held, now)))
    if docs is None:
        result = batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite)
    else:
        result = _documented(gx, context, batch, context.suites.add(suite), frame, docs)
    results: list[Mapping[str, Any]] = result.to_json_dict()["results"]
    return results


def _documented(gx: Any, context: Any, batch: Any, suite: Any, frame: Any, docs: Path) -> Any:
    """The result, and its pages in the folder: Data Docs are made of what a checkpoint has stored."""
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}
    context.add_data_docs_site(site_name="docs", site_config=site)
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=suite)
    definition = context.validation_definitions.add(definition)
    checkpoint = context.checkpoints.add(gx.Checkpoint(name=suite.name, validation_definitions=[definition]))
    (result,) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.values()
    context.build_data_docs(site_names=["docs"])
    return result


def _expectations(known: Any, held: Contract, now: datetime) -> Iterator[Any]:
    names = [promise.name for promise in held.promises]
    yield known.ExpectTableColumnsToMatchOrderedList(column_list=[*names, TIME], meta=_meta(Clause.COLUMNS))
    for promise in held.promises:
        yield known.ExpectColumnValuesToBeBetween(
            column=promise.name, min_value=promise.low, max_value=promise.high, meta=_meta(Clause.RANGE, promise.name)
        )
        yield known.ExpectColumnValuesToNotBeNull(
            column=promise.name, mostly=promise.filled, meta=_meta(Clause.FILLED, promise.name)
        )
    moment, oldest = microseconds(now), microseconds(now - held.fresh)
    yield known.ExpectColumnValuesToBeBetween(column=TIME, max_value=moment, meta=_meta(Clause.FUTURE))
    yield known.ExpectColumnMaxToBeBetween(column=TIME, min_value=oldest, meta=_meta(Clause.FRESH))


def clauses(held: Contract) -> list[tuple[Clause, str]]:
    """All that is asked of the rows; feature: empty where it is of whole rows."""
    of_each = (Clause.UNITS, Clause.RANGE, Clause.FILLED)
    of_rows = [(clause, "") for clause in (Clause.COLUMNS, Clause.FUTURE, Clause.FRESH)]
    return [*of_rows, *((clause, promise.name) for promise in held.promises for clause in of_each)]


def _meta(clause: Clause, feature: str = "") -> dict[str, str]:
    return {"clause": clause.value, "feature": feature}


def _breach(row: Mapping[str, Any], rows: int) -> Iterator[Breach]:
    if row["success"]:
        return
    meta, result = row["expectation_config"]["meta"], row["result"]
    count = int(result.get("unexpected_count", rows))
    told = str(result.get("observed_value") or row.get("exception_info") or f"{count} of {rows} rows")
    yield Breach(Clause(meta["clause"]), meta["feature"], count, rows, told)
