"""`tonewatch record` and `tonewatch replay`: keep a stretch of telemetry as evidence, and watch it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import Json, Models, StateDir, Tenant, as_json_text, own_tenant, run, say

if TYPE_CHECKING:
    from datetime import datetime

    from flows.replay import Replayed
    from ml.champion import Champion
    from tonewatch.recording import Recording
    from warehouse.database import Warehouse


def record(
    start: Annotated[str, typer.Option("--from", help="From when, e.g. 2026-07-06T12:00Z; without a zone UTC.")],
    end: Annotated[str, typer.Option("--to", help="Up to before when.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the recording.")],
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Keep a stretch of what the warehouse holds in a folder: evidence that replays bit for bit.

    No tenant's name is in it. What is in it, and who reads it: docs/recordings.md.
    """
    from dataclasses import asdict

    from tasks.keep import Kept, keep
    from tonewatch.clock import SYSTEM
    from tonewatch.errors import RecordingError

    begin, until = told_time(start, "--from"), told_time(end, "--to")
    if until > SYSTEM.now():
        raise RecordingError(f"--to {until.isoformat()} is still to come: end the stretch now or before")

    async def work(warehouse: Warehouse) -> Kept:
        return await keep(tenant or own_tenant(), warehouse, begin, until, out, say)

    kept = run(state_dir, work)
    if as_json:
        print(as_json_text(asdict(kept)))
        return
    print(
        f"{kept.folder}: {kept.series} series, {kept.samples:,} samples, {kept.changes} changes, {kept.sessions:,} "
        f"session reports\nhash {kept.hash}"
    )


def replay(
    folder: Annotated[Path, typer.Argument(help="A recording: of `tonewatch record`, or of the simulator.")],
    findings: Annotated[
        Path | None,
        typer.Option("--findings", help="Write the findings there, a line of JSON each.", show_default=False),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="The profile to judge by; the recording's own figures win.")
    ] = "platform",
    models: Models = None,
    as_json: Json = False,
) -> None:
    """Watch a recording again, on a virtual clock: what would be found, and the hash of it. Needs no running stack."""
    from tonewatch.recording import open_recording
    from tonewatch.settings import load_profile

    opened = open_recording(folder)
    opened.verify()
    from flows.replay import replay as replayed  # takes seconds: not before it is known that there is something to see

    found = replayed(opened, load_profile(profile), champions_of(models), say)
    if findings is not None:
        _write(findings, found)
    if as_json:
        print(json.dumps(summary(opened, found), indent=1))
        return
    for each in found.findings:
        doubt = " (its watcher was starved)" if each.id in found.excused else ""
        print(f"{each.ended:%Y-%m-%d %H:%M:%S} {each.entity} {each.symptom}: {each.summary}{doubt}")
    print(f"{len(found.findings)} findings in {found.ticks:,} ticks over {found.samples:,} samples; hash {found.hash}")


def summary(recording: Recording, found: Replayed) -> dict[str, object]:
    """The outcome for scripts."""
    from flows.replay import finding_document

    return {
        "recording": recording.hash,
        "start": recording.start.isoformat(),
        "end": recording.end.isoformat(),
        "ticks": found.ticks,
        "samples": found.samples,
        "hash": found.hash,
        "findings": [{**finding_document(each), "excused": each.id in found.excused} for each in found.findings],
    }


def told_time(text: str, option: str) -> datetime:
    """A time as it is written on the command line. Raises SettingsError: it is none."""
    from datetime import UTC, datetime

    from tonewatch.errors import SettingsError

    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {text!r} is no time; write it as 2026-07-06T12:00Z") from error
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)


def champions_of(address: str | None) -> Mapping[str, Champion]:
    """Those of the MLflow at this address; none without one. Raises ModelError: it has none that fits, or is away."""
    if address is None:
        return {}
    from tasks.fetch import Bench
    from tonewatch.errors import ModelError

    found = Bench(None, address).champions(())
    if not found:
        raise ModelError(
            f"the MLflow at {address} has no champion that fits: leave --models out to replay by rules alone"
        )
    return found


def _write(path: Path, found: Replayed) -> None:
    from flows.replay import finding_document
    from tonewatch.errors import RecordingError

    lines = [json.dumps(finding_document(each), ensure_ascii=False) + "\n" for each in found.findings]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"{path} cannot be written ({error.strerror}): name another file") from error
