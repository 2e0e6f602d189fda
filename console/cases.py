"""`tonewatch cases`: recorded incidents and calm periods, and what a change would make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands import Json, Models, StateDir, Tenant, as_json_text, own_tenant, run, say

if TYPE_CHECKING:
    from datetime import datetime

    from tasks.compare import Outcome
    from tonewatch.cases import Expected
    from warehouse.database import Warehouse

REFUSED = 1
#: A recording begins so long before its incident's onset, for the detectors to look back on, and ends so long after.
BEFORE_MINUTES, AFTER_MINUTES = 10.0, 1.0

app = typer.Typer(name="cases", help="Recorded incidents and calm periods: the gate for changes.", no_args_is_help=True)
Library = Annotated[Path, typer.Argument(help="The library: a folder with a folder per case.")]


@app.command()
def add(
    library: Library,
    incident: Annotated[
        str | None, typer.Option("--incident", help="Id of an incident that is over.", show_default=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Begin of a calm period, in place of an incident.", show_default=False)
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Its end.", show_default=False)] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the case; default: the incident's id, or calm-TIME.")
    ] = None,
    before: Annotated[float, typer.Option(help="Minutes that are kept before the onset.")] = BEFORE_MINUTES,
    after: Annotated[float, typer.Option(help="Minutes that are kept after the end.")] = AFTER_MINUTES,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Keep an incident, or a period in which nothing was wrong, as a case. Samples are there for 48 hours.

    An incident that labels settle as a false alarm is kept as calm: it should not be found again.
    """
    from console.recordings import told_time
    from tasks.keep_cases import keep_calm, keep_incident
    from tonewatch.errors import RecordingError

    whose = tenant or own_tenant()
    if (incident is None) == (start is None or end is None):
        raise RecordingError("say either which incident (--incident ID) or which calm period (--from TIME --to TIME)")

    async def work(warehouse: Warehouse) -> Any:
        if incident is not None:
            return await keep_incident(whose, warehouse, incident, library / (name or incident), (before, after), say)
        begin, until = told_time(start or "", "--from"), told_time(end or "", "--to")
        return await keep_calm(whose, warehouse, begin, until, library / (name or _calm(begin)), say)

    case = run(state_dir, work)
    if as_json:
        print(as_json_text(_case(case.name, case.source, case.expected)))
        return
    print(f"{case.folder}: {_words(case.expected)}")


@app.command(name="list")
def list_(library: Library, as_json: Json = False) -> None:
    """The cases of a library, and what was wrong in each."""
    from tonewatch.cases import library as cases_in

    cases = cases_in(library)
    if as_json:
        print(as_json_text([_case(each.name, each.source, each.expected) for each in cases]))
        return
    for each in cases:
        print(f"{each.name:32} {each.source:10} {_words(each.expected)}")
    print(f"{len(cases)} cases, {sum(each.expected is None for each in cases)} of them calm")


@app.command(name="run")
def run_(
    library: Library,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all outcomes there, for `compare`.", show_default=False)
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Judge by this profile; default: each case's own.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE laid over it, as with `tonewatch tenants settings`.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="YAML file of settings that are laid over it.", show_default=False)
    ] = None,
    models: Models = None,
    as_json: Json = False,
) -> None:
    """Replay every case: what is found, how soon, which pages come besides, and what is mended by itself.

    Needs no running stack.
    """
    from console.recordings import champions_of
    from console.tenancy import written
    from flows.gate import Judges, document, judge_all
    from tonewatch.cases import library as cases_in
    from tonewatch.settings import load_profile

    judged_by, own = None if profile is None else load_profile(profile), written(set_ or (), file)
    judges = Judges(champions_of(models), judged_by, own=own)
    told = document(judge_all(cases_in(library), judges, say), judges)
    if out is not None:
        _write(out, told)
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for each in told["outcomes"]:
        found = "calm" if each["calm"] else "missed" if each["found_s"] is None else f"{each['found_s']:.0f} s"
        then = f", {each['acts']} by itself" if each["acts"] else ""
        print(f"{each['case']:32} {found:8} {each['besides']} besides, {each['findings']} findings{then}")
    print(", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in told["figures"].items()))


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="Outcomes as they were (`run --out`).")],
    after: Annotated[Path, typer.Argument(help="Outcomes as they would be.")],
    as_json: Json = False,
) -> None:
    """Hold outcomes against each other. Exit status 1, with the list, where a case got worse: the change is refused."""
    from dataclasses import asdict

    from tasks.compare import compare as held_against

    told = held_against(_read(before), _read(after))
    if as_json:
        print(json.dumps(asdict(told) | {"refused": told.refused}, indent=1))
    else:
        _list("worse", told.worse)
        _list("better", told.better)
        verdict = f"refused: {len(told.worse)} got worse" if told.refused else "nothing got worse"
        print(f"{verdict}; {len(told.better)} better, {told.same} the same; findings differ in {told.changed}")
    if told.refused:
        raise typer.Exit(REFUSED)


def _list(word: str, cases: Mapping[str, str]) -> None:
    for name, why in cases.items():
        print(f"{word:7} {name}: {why}")


def _read(file: Path) -> list[Outcome]:
    from tasks.compare import Outcome
    from tonewatch.errors import RecordingError

    try:
        return [Outcome.from_json(each) for each in json.loads(file.read_text(encoding="utf-8"))["outcomes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{file} holds no outcomes ({error}); `tonewatch cases run --out` writes them") from error


def _write(file: Path, told: Mapping[str, Any]) -> None:
    from tonewatch.errors import RecordingError

    try:
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"the outcomes cannot be written to {file}: {error}") from error


def _calm(begin: datetime) -> str:
    return f"calm-{begin:%Y%m%dT%H%M%S}"


def _case(name: str, source: str, expected: Expected | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {"name": name, "source": source, "expected": None if expected is None else asdict(expected)}


def _words(expected: Expected | None) -> str:
    if expected is None:
        return "calm: nothing is to be found"
    lasted = (expected.until - expected.onset).total_seconds()
    return f"{expected.cause or 'unknown cause'} for {lasted:.0f} s at {', '.join(expected.entities[:4])}"
