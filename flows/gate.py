"""The replay gate: recorded incidents and calm periods, watched again as before a change and as after it.

What got worse is named, and refuses the change: no incident that is found better makes up for one that is missed.
The flow `replay-gate` holds a challenger against the cases of tenants; whoever promotes asks `held_by_cases`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from flows.backtest import pages
from flows.remediation import PATIENCE
from flows.replay import replay
from flows.ticks import FAULTS, DetectionState
from ml.champion import Champion
from ml.labelling import Opinion
from tasks.compare import SLACK, Outcome, compare, outcome
from tasks.detect import FAILS
from tasks.fetch import Bench
from tasks.judge import opinion_of
from tasks.keep_cases import SOURCE
from tasks.redecide import cause_of, decision, refusals
from tasks.survey import Sight
from tasks.train import families_of
from tonewatch.cases import Case, Expected, folders, open_case
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, ModelFails, RecordingError, SettingsError
from tonewatch.records import Change, FindingKind
from tonewatch.settings import Profile, Settings, changed, read
from tonewatch.topology import Topology
from tonewatch.watched import judged_by
from warehouse import calibrations, lineage
from warehouse.calibrations import Calibrated
from warehouse.database import Warehouse

log = logging.getLogger(__name__)
Say = Callable[[str], None]
PASSED, REFUSED = "passed", "refused"
#: What of a recording's own is how it was read. The rest is judgement: a change of the profile may change it.
READ = ("tick_seconds", "scrape_seconds", "probe_seconds")

#: Settings that no replay of a tenant's cases sees: whom people are told through, what is kept, how models are trained
#: and promoted, what single series tell (their past is in no case that was kept by itself), what comes in at the door.
UNSEEN: dict[str, Any] = {
    **dict.fromkeys(("description", "shift_seconds", "slo", "sessions_days", "escalation", "channels", "people"), True),
    **dict.fromkeys(("light", "models", "search", "approve_models", "followed_series", "quotas", "naming"), True),
    "sources": {"prometheus"},
}


@dataclass(frozen=True, slots=True)
class Judges:
    """By what cases are judged. champions: by family, none: rules alone; profile: in place of the case's own.

    series: thresholds of single series by family, used in cases that hold what was known of these; None: not followed;
    own: settings that are laid over the profile, whichever it is.
    """

    champions: Mapping[str, Champion]
    profile: Profile | None = None
    series: Mapping[str, Calibrated] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def without(self, family: str) -> Judges:
        """The others."""
        return replace(self, champions={name: each for name, each in self.champions.items() if name != family})

    def told(self) -> dict[str, Any]:
        """For a record: versions by family, and the whole profile where it is not the cases' own."""
        versions = {family: each.version for family, each in self.champions.items()}
        versions |= {family: each.version for family, each in (self.series or {}).items()}
        return {
            "models": dict(sorted(versions.items())),
            "profile": None if self.profile is None else self.profile.model_dump(mode="json"),
            "settings": dict(self.own),
        }


def judge_case(case: Case, judges: Judges) -> Outcome:
    """Replay a case, and decide once more what would have been done about it.

    Raises RecordingError: it is damaged, or was changed; ModelError: what it knows was learned by other detectors;
    ModelFails: a model fails on it: what it would have told is not known.
    """
    kept = case.recording()
    recording = replace(kept, watched={name: value for name, value in kept.watched.items() if name in READ})
    profile = judged_by(changed(judges.profile or case.profile, judges.own), recording.watched)
    followed = None if judges.series is None else case.followed()
    series = None if followed is None else judges.series
    topology = Topology(recording.entities)
    anew = _Anew(case.expected, profile, topology, recording.changes)
    found = replay(recording, profile, judges.champions, series=series, followed=followed, beside=anew.decide)
    if fails := [each for each in found.findings if each.symptom == FAILS]:
        name = fails[0].detector.removeprefix("model:")
        raise ModelFails(f"{fails[0].summary} ({fails[0].actual})", family=name)
    told = pages(found, topology, recording.changes, recording.end, profile)
    return anew.told(outcome(case.name, case.expected, told, topology, len(found.findings), found.hash))


class _Anew:
    """What would be decided about a case's cause, tick by tick, from its onset on."""

    def __init__(
        self, expected: Expected | None, profile: Profile, topology: Topology, changes: Sequence[Change]
    ) -> None:
        self.expected, self.cause = expected, cause_of(expected)
        self.profile, self.topology, self.changes = profile, topology, changes
        self.refused: list[tuple[datetime, tuple[str, ...]]] = []

    def decide(self, state: DetectionState, now: datetime) -> None:
        """Ask the guardrails at this tick."""
        if self.cause is None or self.expected is None or now < self.expected.onset - SLACK:
            return
        starved = any(each.kind is FindingKind.HOST for each in state.conditions.values())
        sight = Sight(self.profile, self.topology, state.recent.readings, state.conditions, starved)
        self.refused.append((now, refusals(self.cause, sight, self.changes, now)))

    def told(self, seen: Outcome) -> Outcome:
        """The outcome, with what was decided once the page had come."""
        if self.cause is None or self.expected is None or seen.found_s is None:
            return seen
        opened = self.expected.onset + timedelta(seconds=seen.found_s)
        acts, no = decision(self.cause, self.refused, opened, PATIENCE)
        return replace(seen, acts=acts, refusals=no)


def judge_all(cases: Sequence[Case], judges: Judges, say: Say = lambda _: None) -> list[Outcome]:
    """Replay them one after the other. Raises RecordingError: one is damaged; nothing is told of half a library."""
    told = []
    for number, case in enumerate(cases, start=1):
        told.append(judge_case(case, judges))
        if number % 10 == 0 or number == len(cases):
            say(f"{number} of {len(cases)} cases replayed")
    return told


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """In short: how many there were, were found and how soon, and pages that were none of theirs."""
    wrong = [each for each in outcomes if not each.calm]
    delays = sorted(each.found_s for each in wrong if each.found_s is not None)
    return {
        "cases": float(len(outcomes)),
        "incidents": float(len(wrong)),
        "found": float(len(delays)),
        "mended_by_itself": float(sum(bool(each.acts) for each in wrong)),
        "median_found_s": delays[len(delays) // 2] if delays else float("nan"),
        "pages_besides": float(sum(each.besides for each in wrong)),
        "false_pages_in_calm": float(sum(each.besides for each in outcomes if each.calm)),
    }


def document(outcomes: Sequence[Outcome], judges: Judges) -> dict[str, Any]:
    """All of it as JSON."""
    return {"judges": judges.told(), "figures": figures(outcomes), "outcomes": [asdict(each) for each in outcomes]}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a library says of a change. worse: case -> why; cases: that were replayed; note: why none was, or empty;
    broken: those of the worse that cannot be replayed.
    """

    cases: int = 0
    worse: Mapping[str, str] = field(default_factory=dict)
    better: int = 0
    note: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)


@flow(name="replay-gate", flow_run_name="replay-gate-{family}", log_prints=False)
async def replay_gate(
    family: str, challenger: str | None = None, tenants: list[str] | None = None, as_of: datetime | None = None
) -> dict[str, Any]:
    """Hold a family's challenger against the tenants' recorded cases; the version is tagged with what they say. Which
    case gets worse is in the log and in what is returned.

    challenger: a version (default: the registry's challenger); tenants: whose cases (default: the tenant of the
    settings). Raises ModelError: there is nothing to be compared, a version does not fit, or MLflow is away.
    """
    settings = read()
    now = as_of or SYSTEM.now()
    if now.tzinfo is None:
        raise SettingsError(f"no moment: {now}; give it with its zone")
    champion, version = await asyncio.to_thread(_contenders, settings.mlflow_tracking_uri or "", family, challenger)
    warehouse = Warehouse.from_settings(settings)
    try:
        rulings = {
            tenant: await ruled(tenant, settings, warehouse, family, champion, version, now)
            for tenant in tenants or [settings.tenant]
        }
    finally:
        await warehouse.close()
    verdict, reason = _verdict(champion, rulings)
    await asyncio.to_thread(_tag, settings.mlflow_tracking_uri or "", family, version, verdict, reason)
    for tenant, each in rulings.items():
        for case, why in each.worse.items():  # people choose the names of cases: they stay out of MLflow and Prefect
            log.warning("%s %s, case %s of %s: %s", family, version, case, tenant, why)
    rows = _rows(rulings)
    words = f"{family} {version} is {verdict} by the recorded cases: {reason}"
    await acreate_table_artifact(rows, key="replay-gate", description=words)
    get_run_logger().log(logging.WARNING if verdict == REFUSED else logging.INFO, words)
    worse = {tenant: dict(each.worse) for tenant, each in rulings.items()}
    return {"family": family, "champion": champion, "challenger": version, "verdict": verdict, "worse": worse}


async def held_by_cases(
    tenant: str,
    settings: Settings,
    warehouse: Warehouse,
    family: str,
    champion: str | None,
    challenger: str,
    now: datetime,
) -> Sequence[str]:
    """The tenant's recorded cases that get worse if the challenger judges in the champion's place, each with why.

    Empty: none does, and it passes; so does a challenger where there is no case, which the log says. What cases say
    the version is tagged with, as by the flow; of several tenants with the last one's. champion, challenger: versions,
    as the registry tells them; champion None: it cannot score, so that the challenger must find every real incident of
    the family's parts, and tell no more where nothing was wrong than is told without a model of the family; now:
    incidents that were over by then count. Raises ModelError: a version does not fit, MLflow is away, or nothing gets
    worse and cases cannot be replayed: they say neither yes nor no, and somebody must see to them; WarehouseAway.
    """
    ruling = await ruled(tenant, settings, warehouse, family, champion, challenger, now)
    if ruling.broken and ruling.broken == ruling.worse:
        for case, why in ruling.broken.items():
            log.warning("%s %s waits for case %s of %s: %s", family, challenger, case, tenant, why)
        raise ModelError(
            f"{family} {challenger} waits: {len(ruling.broken)} cases in {settings.cases_dir / tenant} cannot be "
            "replayed; mend them, or remove their folders (the log names them)"
        )
    if ruling.cases:
        verdict, reason = _verdict(champion, {tenant: ruling})
        await asyncio.to_thread(_tag, settings.mlflow_tracking_uri or "", family, challenger, verdict, reason)
    return [f"{case}: {why}" for case, why in ruling.worse.items()]


async def ruled(
    tenant: str,
    settings: Settings,
    warehouse: Warehouse,
    family: str,
    champion: str | None,
    challenger: str,
    now: datetime,
) -> Ruling:
    """As `held_by_cases`, with how many cases there were, and why none was replayed."""
    kept = folders(settings.cases_dir / tenant)
    if not kept:
        return _passed(tenant, f"no case is kept in {settings.cases_dir / tenant}")
    mine, retired, opinion = await _known(tenant, warehouse)
    bench = Bench(tenant, settings.mlflow_tracking_uri or "")
    sides = await asyncio.to_thread(_sides, bench, mine, retired, family, champion, challenger)
    if sides is None:
        return _passed(tenant, f"its calm has set no threshold for {family} {challenger}, which will not judge for it")
    owed = family if champion is None else ""
    return await asyncio.to_thread(hold, kept, *sides, now, log.info, opinion, owed)


async def ruled_settings(
    tenant: str, settings: Settings, warehouse: Warehouse, before: Profile, after: Profile, now: datetime, say: Say
) -> Ruling:
    """What the tenant's recorded cases say of settings that are to take others' place; its champions judge by either.

    Where nothing that a replay can see differs no case is replayed. say: how far it is. Raises ModelError: there are
    champions and MLflow is away; WarehouseAway.
    """
    if _seen(before) == _seen(after):
        return Ruling()
    kept = folders(settings.cases_dir / tenant)
    if not kept:
        return Ruling(note=f"no case of {tenant} is kept in {settings.cases_dir / tenant}: nothing was replayed")
    mine, retired, opinion = await _known(tenant, warehouse)
    say(f"{len(kept)} recorded cases of {tenant} are replayed, by the settings as they are and as they would be")
    champions: Mapping[str, Champion] = {}
    if settings.mlflow_tracking_uri:
        champions = await asyncio.to_thread(Bench(tenant, settings.mlflow_tracking_uri).champions, mine, retired)
    was, is_now = (Judges(champions, profile) for profile in (before, after))
    return await asyncio.to_thread(hold, kept, was, is_now, now, say, opinion)


async def _known(tenant: str, warehouse: Warehouse) -> tuple[Sequence[Calibrated], frozenset[str], Opinion]:
    """The tenant's thresholds that hold, versions that may score no more for it, and what labels make of incidents."""
    async with warehouse.as_tenant(tenant) as db:
        mine = await calibrations.newest(tenant, db)
        retired = await lineage.retired(tenant, db)
        return mine, retired, await opinion_of(tenant, db)


def _seen(profile: Profile) -> dict[str, Any]:
    """What a replay judges by."""
    return profile.model_dump(mode="json", exclude=dict.fromkeys(READ, True) | UNSEEN)


def _passed(tenant: str, note: str) -> Ruling:
    log.warning("no case of %s was replayed: %s", tenant, note)
    return Ruling(note=note)


def _sides(
    bench: Bench,
    mine: Sequence[Calibrated],
    retired: frozenset[str],
    family: str,
    champion: str | None,
    challenger: str,
) -> tuple[Judges, Judges] | None:
    """The tenant's judges as they are, and with the challenger among them; None: it would not judge for the tenant."""
    before = bench.champions(mine, retired)
    old = None if champion is None else bench.judge(family, champion, mine)
    new = bench.judge(family, challenger, mine)
    if new is None:
        return None
    if champion is None:
        before.pop(family, None)
    elif old is not None:
        before[family] = old
    return Judges(before), Judges({**before, family: new})


def hold(
    kept: Sequence[Path],
    before: Judges,
    after: Judges,
    now: datetime,
    say: Say = lambda _: None,
    opinion: Opinion | None = None,
    owed: str = "",
) -> Ruling:
    """Replay the cases in these folders by either. What cannot be replayed counts as worse, and is never passed over.

    now: incidents that ended later are left out; opinion: what labels make of the tenant's incidents until now: those
    that were kept by themselves and that it does not settle are left out, too. None: cases are what they were kept as;
    owed: the family whose real cases must be found although nobody judges it before.
    """
    was, is_now, failing, broken = [], [], {}, {}
    for number, folder in enumerate(kept, start=1):
        try:
            told = _both(folder, before, after, now, opinion, owed)
        except RecordingError as error:
            if folder.exists():  # or housekeeping has removed the oldest meanwhile
                broken[folder.name] = f"cannot be replayed: {error}"
            continue
        if isinstance(told, str):
            failing[folder.name] = told
        elif told is not None:
            was.append(told[0])
            is_now.append(told[1])
        if number % 10 == 0:
            say(f"{number} of {len(kept)} cases replayed")
    found = compare(was, is_now)
    worse = {**found.worse, **failing, **broken}
    return Ruling(len(was) + len(failing) + len(broken), worse, len(found.better), broken=broken)


def _both(
    folder: Path, before: Judges, after: Judges, now: datetime, opinion: Opinion | None, owed: str
) -> tuple[Outcome, Outcome] | str | None:
    """What either makes of a case; in words, why what is new is worse whatever was before; None: it does not count.
    Raises RecordingError: it cannot be replayed.
    """
    case = open_case(folder)
    if case.expected is not None and case.expected.until > now:
        return None
    believed = _believed(case, opinion)
    if believed is None:
        return None
    told = _judged(believed, before, after)
    if not isinstance(told, str) and told[1].found_s is None and _is_of(believed, owed):
        return "missed, as it is without a champion"
    return told


def _judged(case: Case, before: Judges, after: Judges) -> tuple[Outcome, Outcome] | str:
    """As `_both`. A model that fails on the case judges nothing in it, as in the watch. One that both have says nothing
    of the change: neither has it then.
    """
    try:
        was = judge_case(case, before)
    except ModelFails as error:
        log.warning("case %s is replayed without the model of %s: %s", case.name, error.family, error)
        same = _have_one(before, after, error.family)
        return _judged(case, before.without(error.family), after.without(error.family) if same else after)
    except FAULTS as error:
        raise RecordingError(str(error)) from error
    try:
        is_now = judge_case(case, after)
    except Exception as error:  # noqa: BLE001 - a model's own code: whatever a challenger raises is its fault
        if isinstance(error, ModelFails) and _have_one(before, after, error.family):
            return _judged(case, before.without(error.family), after.without(error.family))
        return f"what is new fails on it: {type(error).__name__}: {error}"
    return was, is_now


def _have_one(before: Judges, after: Judges, family: str) -> bool:
    return before.champions.get(family) is after.champions.get(family)


def _is_of(case: Case, family: str) -> bool:
    """Whether a part of that family was ill in the case."""
    if not family or case.expected is None:
        return False
    parts = families_of(Topology(case.recording().entities)).get(family, ())
    return not set(parts).isdisjoint(case.expected.entities)


def _believed(case: Case, opinion: Opinion | None) -> Case | None:
    """The case as labels have it now; None: they settle nothing, or more than was kept of it.

    What a champion told, and what ended by itself, was an incident to nobody else yet: a challenger that is silent
    there may be the better one for it.
    """
    if opinion is None or case.source != SOURCE:
        return case
    real = opinion.verdict(case.name)
    if real is False:
        return replace(case, expected=None)
    return case if real and case.expected is not None else None


def _contenders(tracking_uri: str, family: str, challenger: str | None) -> tuple[str, str]:
    """Versions of champion and challenger. Raises ModelError: one is missing, they are one, or MLflow is away."""
    from ml import registry  # imports mlflow: seconds that are only paid here

    champion = registry.champion_versions(tracking_uri).get(family)
    version = challenger or registry.challenger_versions(tracking_uri).get(family)
    if champion is None:
        raise ModelError(f"{family} has no champion to be held against; see `tonewatch models list`")
    if version is None:
        raise ModelError(f"{family} has no challenger; name a version, or train one: `tonewatch train {family}`")
    if version == champion:
        raise ModelError(f"{family} version {version} is the champion already")
    return champion, version


def _tag(tracking_uri: str, family: str, version: str, verdict: str, reason: str) -> None:
    from ml import versions

    versions.tag(tracking_uri, family, version, {versions.REPLAY_GATE: verdict, versions.REPLAY_GATE_REASON: reason})


def _verdict(champion: str | None, rulings: Mapping[str, Ruling]) -> tuple[str, str]:
    """Passed or refused, and why: figures alone."""
    worse = sum(len(each.worse) for each in rulings.values())
    count = sum(each.cases for each in rulings.values())
    rival = f"by {champion}" if champion is not None else "without a model of the family"
    if worse:
        return REFUSED, f"{worse} of {count} cases get worse than {rival}"
    return PASSED, f"none of {count} cases gets worse than {rival}"


def _rows(rulings: Mapping[str, Ruling]) -> list[dict[str, Any]]:
    """A line per tenant."""
    return [
        {
            "tenant": tenant,
            "cases": each.cases,
            "worse": len(each.worse),
            "broken": len(each.broken),
            "better": each.better,
            "note": each.note,
        }
        for tenant, each in rulings.items()
    ]
