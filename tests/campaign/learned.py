"""The chain of models once on the live soundstage, unattended: the audience's shape changes for good, drift tells it
and asks for a training, the challenger is validated beside the champion and promoted, the watcher takes it up between
two ticks, and pages are back in budget; then a sabotaged challenger is put beside and is not promoted.

The stack is the demo's: soundstage, Prefect server and worker, MLflow, watcher; a compressed day is 90 s. The campaign
changes the audience, puts the sabotaged version into the registry, and keeps the time: the deployments are started as
their schedules say, so many times faster. All else happens by itself, or the run ends with status 1 and says which step
was not reached. `make learned` writes docs/results/lifecycle_live.json and its page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from console.commands import connected_settings
from console.waiting import until
from feature_store.definitions import fingerprint
from tests.campaign.calm import RESULTS, ROOT
from tests.campaign.chain import Contest, Eyes, Lifecycle, lifecycle, pages, registered, starved
from tests.campaign.learned_page import Told, publish
from tests.campaign.replayed import PROFILE, TENANT, Demo
from tests.campaign.timekeeper import LEFT_OUT, Prefect, Timekeeper
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError
from tonewatch.settings import Settings, load_profile
from warehouse.cache import Cache
from warehouse.database import Warehouse

DAY_S = load_profile(PROFILE).day_seconds
#: Days of the usual shape before the change: a reference is a week at least, with its free days, and the first two
#: teach the champions.
CALM_DAYS = 12.0
#: A validation lasts so many compressed days at most.
LONGEST_DAYS = 20.0
#: Drift is looked for so long after the change, and a verdict so long after the change: what is learned first may have
#: learned from both shapes, and is followed by another.
DRIFT_DAYS, PROMOTED_DAYS = 6.0, 45.0
#: A request waits until two days of the new shape are there to be learned, and then for the next turn.
ASKED_DAYS = 6.0
#: The sabotaged version's validation, with what it is behind the stream.
SABOTAGE_DAYS = LONGEST_DAYS + 4.0
#: How long pages are counted after the promotion, at least.
AFTER_DAYS = 14.0
#: Every so many hours of the compressed day deployments are started: each run is a process that takes seconds to begin.
#: A training learns from the two days before it: it comes when there are two days of the new shape.
TURN_HOURS = 48.0
#: Altogether at most: what was not reached by then is said, and what was is kept.
MINUTES = 130.0
#: The demo comes up and learns for two days before it gives its result.
UP_S = 900.0
LOOK_S = 3.0
#: No score reaches it.
DEAF = 2.0
#: What the audience takes in the beginning, and from the change on: all hear one show, and then most spread over all
#: channels and renditions, so that edges find less in their caches.
USUAL = ("--channel", "ch1", "--rendition", "aac-64", "--share", "1")
CHANGED = ("--channel", "ch1", "--rendition", "aac-64", "--share", "0")
#: The soundstage is on air long before the stack is up.
ON_AIR_S = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """What `make learned` was asked for."""

    seed: int = 1
    calm_days: float = CALM_DAYS
    promoted_days: float = PROMOTED_DAYS
    after_days: float = AFTER_DAYS
    turn_hours: float = TURN_HOURS
    minutes: float = MINUTES
    changed: Sequence[str] = CHANGED
    keep: Path | None = None
    out: Path = RESULTS


@dataclass(slots=True)
class Steps:
    """The steps of the chain that were reached, and when, in compressed days since the watch began."""

    began: datetime
    reached: dict[str, dict[str, Any]] = field(default_factory=dict)
    missed: str = ""

    def day(self, at: datetime) -> float:
        """The moment in compressed days."""
        return round((at - self.began).total_seconds() / DAY_S, 2)

    def say(self, text: str) -> None:
        """Progress, to those who wait."""
        print(f"[day {self.day(SYSTEM.now()):6.2f}] {text}", flush=True)

    def reach(self, name: str, at: datetime, words: str, **what: Any) -> None:
        """A step is reached."""
        self.reached[name] = {"day": self.day(at), "at": at.isoformat(), "words": words, **what}
        self.say(f"{name}: {words}")

    def miss(self, name: str, why: str) -> None:
        """A step is not; those after it that need it are not tried."""
        self.missed = self.missed or f"{name}: {why}"
        self.say(f"NOT REACHED: {name}: {why}")


@dataclass(slots=True)
class Live:
    """The stack that is up, and what is looked at of it."""

    settings: Settings
    stage: Path
    warehouse: Warehouse
    eyes: Eyes
    prefect: Prefect
    keeper: Timekeeper
    steps: Steps

    async def told(self) -> Lifecycle:
        """What the warehouse keeps of the models' lives."""
        return await lifecycle(TENANT, self.warehouse)

    @property
    def registry(self) -> str:
        """MLflow's address."""
        return self.settings.mlflow_tracking_uri or ""


async def within(days: float, look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds within so many compressed days; None: nothing."""
    return await until(look, days * DAY_S, every=LOOK_S)


async def watched(options: Options, demo: Demo) -> Told:
    """From the demo's champions to the sabotaged version's end."""
    stage = await _on_air(demo)
    await favour(stage, USUAL)
    await asyncio.to_thread(demo.wait)
    settings = connected_settings(demo.state)
    cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
    warehouse, prefect = Warehouse.from_settings(settings), Prefect(settings.prefect_api_url or "")
    steps = Steps(demo.began)
    keeper = Timekeeper(prefect, DAY_S / 24, options.turn_hours, steps.say)
    live = Live(settings, stage, warehouse, Eyes(TENANT, cache), prefect, keeper, steps)
    try:
        return await _in_time(options, live)
    finally:
        await prefect.close()
        await cache.close()
        await warehouse.close()


async def _on_air(demo: Demo) -> Path:
    async def there() -> Path | None:
        return demo.stage

    found: Path | None = await until(there, ON_AIR_S)
    if found is None:
        raise SystemExit(f"no soundstage is on air after {ON_AIR_S:g} s")
    return found


async def favour(stage: Path, words: Sequence[str]) -> None:
    """Change what the audience listens to, for good."""
    command = [sys.executable, "-m", "soundstage", "audience", "--dir", str(stage), *words]
    made = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(f"the audience's shape was not changed: {made.stderr.strip()}")


async def _in_time(options: Options, live: Live) -> Told:
    """The steps, while the time is kept and the watcher's picture looked at."""
    scheduled = await live.prefect.scheduled()
    for each in scheduled:
        if each.name == "validation":
            await live.prefect.default(each, longest_days=LONGEST_DAYS)
    live.steps.say(f"in time, at most every {options.turn_hours:g} h: {', '.join(each.name for each in scheduled)}")
    live.steps.say(f"left out: {'; '.join(f'{name} ({why})' for name, why in LEFT_OUT.items())}")
    moments: dict[str, datetime] = {}
    chain = asyncio.create_task(_chain(options, live, moments))
    going = [asyncio.create_task(each) for each in (live.eyes.go_on(), live.keeper.go_on(scheduled))]
    try:
        left = options.minutes * 60 - (SYSTEM.now() - live.steps.began).total_seconds()
        await asyncio.wait([chain, *going], return_when=asyncio.FIRST_COMPLETED, timeout=max(left, 0.0))
        for task in (chain, *going):
            if task.done():
                task.result()  # going end by an error alone
        if not chain.done():
            live.steps.miss("time", f"{options.minutes:g} minutes are over")
        return await _gathered(live, {**moments, "end": SYSTEM.now()})
    finally:
        for task in (chain, *going):
            task.cancel()
        await asyncio.gather(chain, *going, return_exceptions=True)


async def _gathered(live: Live, moments: dict[str, datetime]) -> Told:
    """All that was seen; whether pages are back in budget is told by them."""
    profile, steps = load_profile(PROFILE), live.steps
    told = Told(
        steps.reached,
        steps.missed,
        moments,
        await pages(TENANT, live.warehouse, moments["champions"]),
        await live.prefect.runs(),
        await asyncio.to_thread(registered, live.registry),
        await starved(TENANT, live.warehouse, moments["champions"], moments["end"]),
        live.keeper.late,
        profile,
    )
    after = told.counted().get("after")
    if after is not None:
        words = f"{after['pages']:g} pages in {after['weeks']:g} compressed weeks after it was taken up"
        if after["pages_per_week"] <= profile.budget.pages_per_week:
            steps.reach("budget", moments["end"], words)
        else:
            steps.miss("budget", words)
    return replace(told, missed=steps.missed)


async def _chain(options: Options, live: Live, moments: dict[str, datetime]) -> None:
    """Every step in its order; into `moments` goes between which pages are counted."""
    moments["champions"] = await _champions(live)
    await _calm(options, live)
    moments["changed"] = await _changed(options, live)
    drifted = await _drifted(live, moments["changed"])
    promoted = await _promoted(options, live, moments["changed"]) if drifted else None
    if promoted is not None:
        await _taken_up(live, promoted, moments)
        await _sabotaged(live, promoted.of.family)
        await _counted(options, live, moments)


async def _calm(options: Options, live: Live) -> None:
    async def over() -> bool:
        return live.steps.day(SYSTEM.now()) >= options.calm_days

    live.steps.say(f"the usual shape until day {options.calm_days:g}")
    await within(options.calm_days, over)


async def _champions(live: Live) -> datetime:
    async def scoring() -> bool:
        return bool(live.eyes.taken)

    if not await within(2.0, scoring):
        raise SystemExit("no champion scores; see the watcher's log")
    now, taken = SYSTEM.now(), {each.family: each.version for each in live.eyes.taken}
    live.steps.reach("champions", now, f"{len(taken)} families are judged", versions=taken)
    return now


async def _changed(options: Options, live: Live) -> datetime:
    """Change the audience's shape, right after a turn; when."""
    before = live.keeper.turns

    async def turned() -> bool:
        return live.keeper.turns > before

    await within(4 * options.turn_hours / 24, turned)
    await favour(live.stage, options.changed)
    now = SYSTEM.now()
    live.steps.reach("shape", now, f"the audience's shape changes for good: {' '.join(options.changed)}")
    return now


async def _drifted(live: Live, since: datetime) -> bool:
    """Whether drift was told and a training asked for and handed to Prefect."""
    before = {each.view: each.verdict for each in (await live.told()).checks}
    live.steps.say(f"the last checks before: {before}")

    async def told() -> Lifecycle | None:
        found = await live.told()
        return found if found.drifts(since) else None

    found = await within(DRIFT_DAYS, told)
    if found is None:
        checks = {each.view: f"{each.verdict} ({each.told})" for each in (await live.told()).checks}
        live.steps.miss("drift", f"none is told {DRIFT_DAYS:g} days after the change; the last checks: {checks}")
        return False
    for each in found.drifts(since):
        live.steps.reach("drift", each.checked, f"{each.view}: {each.told}", view=each.view)
    return await _asked(live, since)


async def _asked(live: Live, since: datetime) -> bool:
    async def handed() -> Any:
        return [each for each in (await live.told()).requests if each.asked >= since and each.delivered]

    found = await within(ASKED_DAYS, handed)
    if not found:
        live.steps.miss("retraining", "no request of the drift's was handed to Prefect")
        return False
    views = ", ".join(each.view for each in found)
    live.steps.reach("retraining", found[0].delivered, f"a training of {views} was handed over", run=found[0].flow_run)
    return True


async def _promoted(options: Options, live: Live, since: datetime) -> Contest | None:
    """The first contest since the change whose challenger was promoted; every verdict until then is said."""
    said: dict[str, str] = {}

    async def promoted() -> Contest | None:
        found = await live.told()
        for each in found.contests:
            if each.of.started >= since and said.get(each.of.id) != each.answer + str(each.final):
                said[each.of.id] = each.answer + str(each.final)
                _say_contest(live.steps, each)
        return next(iter(found.promoted(since)), None)

    contest: Contest | None = await within(options.promoted_days, promoted)
    if contest is None:
        stands = {f"{each.of.family} {each.of.challenger}": each.answer for each in (await live.told()).contests}
        live.steps.miss("promotion", f"no challenger was promoted within {options.promoted_days:g} days: {stands}")
    return contest


def _say_contest(steps: Steps, contest: Contest) -> None:
    of, looked = contest.of, contest.looked
    pair = {"family": of.family, "champion": of.champion, "challenger": of.challenger}
    name = f"{of.family} {of.challenger} against {of.champion}"
    if "challenger" not in steps.reached or looked is None:
        steps.reach("challenger", of.started, f"{name} is validated", **pair)
    if looked is not None:
        why = "; ".join(looked.reasons)
        steps.reach("verdict" if looked.final else "look", looked.until, f"{name}: {looked.answer}: {why}", **pair)


async def _taken_up(live: Live, contest: Contest, moments: dict[str, datetime]) -> None:
    family, version = contest.of.family, contest.of.challenger
    at = contest.of.promoted or SYSTEM.now()
    pair = {"family": family, "version": version}
    live.steps.reach("promotion", at, f"{family} {version} is champion instead of {contest.of.champion}", **pair)

    async def taken() -> datetime | None:
        return live.eyes.since(family, version)

    found: datetime | None = await within(3.0, taken)
    if found is None:
        live.steps.miss("taken up", f"the watcher does not score with {family} {version} three days later")
        return
    moments["taken"] = found
    live.steps.reach("taken up", found, f"the watcher scores with {family} {version}", **pair)


async def _sabotaged(live: Live, family: str) -> None:
    """Put a version that hears nothing beside the champion, and see what becomes of it."""
    began = SYSTEM.now()
    version = await asyncio.to_thread(deaf, live.registry, family, began)
    live.steps.reach("sabotage", began, f"{family} {version} is put beside: it has the gate's tags and hears nothing")

    async def ended() -> Contest | None:
        mine = (await live.told()).of(family, version)
        return mine if mine is not None and mine.final else None

    contest: Contest | None = await within(SABOTAGE_DAYS, ended)
    if contest is None:
        live.steps.miss("rejection", f"the validation of {family} {version} has not ended")
        return
    looked = contest.looked
    why = f"{contest.answer}: {'; '.join(looked.reasons) if looked else ''}"
    pair = {"family": family, "version": version, "answer": contest.answer}
    if contest.of.promoted is not None:
        live.steps.miss("rejection", f"the sabotaged {family} {version} was promoted: {why}")
        return
    live.steps.reach("rejection", looked.until if looked else SYSTEM.now(), f"{family} {version}: {why}", **pair)


def deaf(tracking_uri: str, family: str, now: datetime) -> str:
    """Register the champion once more, with a threshold that no score reaches and the tags of one that passed the gate:
    of calm it tells nothing false. Its version. Raises ModelError: MLflow is away.
    """
    from ml import registry, versions

    champion = registry.champion_versions(tracking_uri).get(family)
    if champion is None:
        raise ModelError(f"{family} has no champion that could be copied")
    held = registry.fetch(tracking_uri, family, champion)
    training = registry.Training(
        tenant=TENANT,
        start=datetime.fromisoformat(held.tags["data_start"]),
        end=now,
        data_hash=held.tags["data_hash"],
        fingerprint=fingerprint(family),
        threshold=DEAF,
        rate=0.0,
        metrics={},
        params={},
        description="Made by the campaign `learned`: it hears nothing, so that it tells nothing false of calm.",
        lineage={versions.GATE: "passed", versions.GATE_REASON: "sabotage: no incident on calm"},
    )
    centre, _ = held.detector.typical()
    version = registry.register(tracking_uri, family, held.detector, training, centre[None, :].repeat(2, axis=0))
    versions.challenge(tracking_uri, family, version)
    return version


async def _counted(options: Options, live: Live, moments: dict[str, datetime]) -> None:
    """Go on until pages were counted long enough after the promotion."""
    if "taken" not in moments:
        return
    end = moments["taken"] + timedelta(days=options.after_days * DAY_S / 86_400)

    async def over() -> bool:
        return SYSTEM.now() >= end

    live.steps.say(f"pages are counted until day {live.steps.day(end):g}")
    await within(options.after_days + 1, over)


def run(options: Options) -> int:
    """The whole, in a folder of its own; the exit status."""
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="tonewatch-learned-", dir="/tmp"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    demo = Demo(folder, 0.0, "none", options.seed, UP_S)
    try:
        told = asyncio.run(watched(options, demo))
    finally:
        if options.keep is not None:
            shutil.copytree(demo.state / "logs", options.keep, dirs_exist_ok=True)
        demo.close()
        shutil.rmtree(folder, ignore_errors=True)
    figures = publish(told, options.seed, time.monotonic() - began, options.out / "lifecycle_live.json")
    print(json.dumps(figures, indent=1))
    if told.missed:
        print(f"not reached: {told.missed}", file=sys.stderr)
    return int(bool(told.missed))


def main() -> int:
    """Run it once; 1 if a step was not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the soundstage's seed (default 1)")
    parser.add_argument("--calm-days", type=float, default=CALM_DAYS, help="compressed days before the change")
    parser.add_argument("--promoted-days", type=float, default=PROMOTED_DAYS, help="a promotion is waited for so long")
    parser.add_argument("--after-days", type=float, default=AFTER_DAYS, help="pages are counted so long after it")
    parser.add_argument("--turn-hours", type=float, default=TURN_HOURS, help="compressed hours between two turns")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="it ends after so many, whatever was reached")
    parser.add_argument("--changed", default=" ".join(CHANGED), help="the change: words of `soundstage audience`")
    parser.add_argument("--keep-logs", type=Path, help="folder into which the stack's logs are copied")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of lifecycle_live.json and its page")
    given = parser.parse_args()
    days = (given.calm_days, given.promoted_days, given.after_days, given.turn_hours, given.minutes)
    if min(days) <= 0:
        parser.error("days, hours and minutes must be above 0")
    return run(Options(given.seed, *days, given.changed.split(), given.keep_logs, given.out))


if __name__ == "__main__":
    sys.exit(main())
