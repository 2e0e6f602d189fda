"""Backtest: a stretch of the past watched again by today's rules and champions; its figures stand in MLflow."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from flows.replay import Held, Replayed, replay
from ml.ensemble import default_ensemble
from ml.fingerprint import fingerprint, fingerprint_of_course
from policy.grouping import OPENING, explained
from policy.strange import lasts
from tasks.backtest import Episode, PastIncident, incidents
from tasks.fetch import Bench
from tasks.keep import keep
from tasks.publish_series import NAME
from tasks.tell import thresholds_of
from tonewatch.clock import SYSTEM
from tonewatch.errors import SettingsError
from tonewatch.recording import Recording, open_recording
from tonewatch.records import Change, Finding
from tonewatch.settings import Profile, Settings, read
from tonewatch.topology import Topology
from warehouse import calibrations, lineage, tenants
from warehouse.calibrations import COURSE, Calibrated
from warehouse.database import Warehouse

USUALLY = timedelta(hours=24)


@flow(name="backtest", flow_run_name="{tenant}-backtest", log_prints=False)
async def backtest(
    tenant: str | None = None, start: datetime | None = None, end: datetime | None = None
) -> dict[str, Any]:
    """Watch the tenant's samples of `start` to `end` again (default: the last day; samples are kept for two).

    What is found is compared with nothing and changes nothing: no incident, no notice. Raises RecordingError: there is
    no such stretch; SettingsError: no stretch of time; ModelError: MLflow is away.
    """
    settings = read()
    whose = tenant or settings.tenant
    until = end or SYSTEM.now()
    since = start or until - USUALLY
    if since.tzinfo is None or until.tzinfo is None or since >= until:
        raise SettingsError(f"no stretch of time: {since} to {until}; give both with their zone, the earlier first")
    warehouse = Warehouse.from_settings(settings)
    log = get_run_logger()
    try:
        async with warehouse.as_tenant(whose) as db:
            profile = await tenants.profile(whose, db)
            mine = await calibrations.newest(whose, db)
            retired = await lineage.retired(whose, db)
        with TemporaryDirectory(prefix="tonewatch-backtest-") as folder:
            await keep(whose, warehouse, since, until, Path(folder) / "recording", log.info)
            recording = open_recording(Path(folder) / "recording")
            found, models = await asyncio.to_thread(_watched, whose, recording, profile, settings, mine, retired)
            figures = _figures(whose, recording, found, profile)
            await asyncio.to_thread(_log, settings, whose, recording, found, models, figures)
    finally:
        await warehouse.close()
    rows = [{"figure": name, "value": f"{value:g}"} for name, value in figures.items()]
    await acreate_table_artifact(rows, key="backtest", description=f"Findings hash `{found.hash}`, judged by {models}.")
    return {"hash": found.hash, "recording": recording.hash, "models": models, **figures}


def _watched(
    tenant: str,
    recording: Recording,
    profile: Profile,
    settings: Settings,
    mine: list[Calibrated],
    retired: frozenset[str],
) -> tuple[Replayed, dict[str, str]]:
    uri = settings.mlflow_tracking_uri
    champions = Bench(tenant, uri).champions(mine, retired) if uri and settings.ai_anomaly_detection else {}
    series = thresholds_of(mine) if settings.ai_anomaly_detection else None
    found = replay(recording, profile, champions, series=series)
    ensemble = {NAME: fingerprint(default_ensemble()), COURSE: fingerprint_of_course()} if series is not None else {}
    return found, {family: champion.version for family, champion in sorted(champions.items())} | ensemble


def pages(
    found: Replayed, topology: Topology, changes: Sequence[Change], end: datetime, profile: Profile
) -> list[PastIncident]:
    """The incidents, each a page, that the product would have made of what was found, in the order of their onset.

    As there, an anomaly opens one by itself only if it has lasted, and what announced work explains opens none. end:
    what still holds then has no end yet.
    """
    sure = [each for each in found.findings if each.kind in OPENING and each.id not in found.excused]
    unexplained = [each for each in sure if not _explained(each, found.held[each.id], topology, changes)]
    episodes = [Episode(each, found.held[each.id].over or end) for each in unexplained]
    enough = timedelta(seconds=profile.anomaly_seconds)
    lasting = {
        each.id for each in unexplained if lasts(each.detector) or found.held[each.id].last - each.ended >= enough
    }
    return incidents(episodes, topology, end, lasting, changes)


def _explained(finding: Finding, held: Held, topology: Topology, changes: Sequence[Change]) -> bool:
    """Whether announced work explained the finding from the tick that found it to the last at which it held."""
    known = [change for change in changes if change.started <= held.first]
    return explained(finding, known, topology, held.last, held=True) is not None


def _figures(tenant: str, recording: Recording, found: Replayed, profile: Profile) -> dict[str, float]:
    """Findings by kind, and the pages that they would have been beside what the budget allows."""
    told = pages(found, Topology(recording.entities), recording.changes, recording.end, profile)
    kinds = Counter(f"findings_{finding.kind}" for finding in found.findings)
    # Of what there is: no page can come of what the warehouse no longer holds, or never did.
    seconds = (recording.chunks[-1].last - recording.chunks[0].first) / 1e6
    return {
        **{name: float(count) for name, count in sorted(kinds.items())},
        "findings": float(len(found.findings)),
        "excused": float(len(found.excused)),
        "pages": float(len(told)),
        "pages_allowed": profile.budget.pages_per_week * seconds / profile.budget.week_seconds,
        "ticks": float(found.ticks),
        "samples": float(found.samples),
    }


def _log(
    settings: Settings,
    tenant: str,
    recording: Recording,
    found: Replayed,
    models: dict[str, str],
    figures: dict[str, float],
) -> None:
    if not settings.mlflow_tracking_uri:
        return  # a light stack has none; the run and its artifact stand in Prefect
    from ml.registry import Backtest, log_backtest  # imports mlflow: seconds that are only paid here

    ids = [{"id": each.id, "kind": each.kind, "ended": each.ended.isoformat()} for each in found.findings]
    told = Backtest(
        tags={"tenant": tenant, "findings_hash": found.hash, "data_hash": recording.hash},
        params={
            "start": recording.start.isoformat(),
            "end": recording.end.isoformat(),
            **{f"model_{family}": version for family, version in models.items()},
        },
        metrics=figures,
        files={"findings.json": json.dumps(ids, indent=1).encode()},
    )
    log_backtest(settings.mlflow_tracking_uri, f"{tenant}-backtest", told)
