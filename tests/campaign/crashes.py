"""Everybody dies while a fault is mended: the watcher in each of its eight steps, PostgreSQL, Redis, gateway, SMTP.

Each case injects a real fault into a running soundstage, kills one process with SIGKILL at an exact moment, lets the
stack's own supervision bring it back, and holds what came of the incident against tests/campaign/promises.py.
Writes docs/results/crashes.json and its page. Takes about 40 minutes: `make crashes`.
A case on a starved machine (more than 5 % of its seconds) is void, repeated once, and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from console.demo import stage
from console.demo.live import open_view
from console.demo.mailbox import Mailbox
from console.demo.rehearsal import Rehearsal
from console.demo.scoring import Truth, is_void
from console.demo.show import Show
from console.stack import ports
from console.stack.lifecycle import Stack
from console.stack.parts import PARTS, Part
from console.starvation import Sleeper
from console.waiting import until
from tests.campaign.moments import NAMED, Order, Orders, Struck
from tests.campaign.promises import Story, broken, repeats, stories
from tests.ports import free_port
from tonewatch.clock import SYSTEM
from tonewatch.errors import TonewatchError
from tonewatch.settings import load_profile, read
from warehouse import cursors
from warehouse.database import Warehouse

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
TENANT = "demo"
CALM_SECONDS = 15.0
MOMENT_SECONDS = 150.0
OVER_SECONDS = 300.0
BACK_SECONDS = 120.0
#: Parts that only learning needs; it is switched off here.
LEFT_OUT = frozenset({"mlflow", "pool", "worker", "deployments"})
CRASH, HANG = "transcoder-crash", "packager-hang"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, who is killed (None: nobody), and at which moment of the watcher."""

    name: str
    fault: str
    victim: str | None
    moment: str | None


CASES = (
    Case("nobody", CRASH, None, None),
    Case("collected", CRASH, "watcher", "collected"),
    Case("check", CRASH, "watcher", "check"),
    Case("detected", CRASH, "watcher", "detected"),
    Case("findings", CRASH, "watcher", "findings"),
    Case("correlated", CRASH, "watcher", "correlated"),
    Case("diagnose", CRASH, "watcher", "diagnose"),
    Case("leased", CRASH, "watcher", "leased"),
    Case("mailed", CRASH, "watcher", "mailed"),
    Case("intent", CRASH, "watcher", "intent"),
    Case("started", CRASH, "watcher", "started"),
    Case("sent", CRASH, "watcher", "sent"),
    Case("done", CRASH, "watcher", "done"),
    Case("judged", CRASH, "watcher", "judged"),
    Case("closing", CRASH, "watcher", "closing"),
    Case("nobody-hang", HANG, None, None),
    Case("half-done", HANG, "watcher", "half-done"),
    Case("postgres", CRASH, "postgres", "started"),
    Case("redis", CRASH, "redis", "started"),
    Case("gateway", CRASH, "gateway", "started"),
    Case("smtp", CRASH, "smtp", "started"),
)
BASELINE = {CRASH: "nobody", HANG: "nobody-hang"}


class Smtp:
    """A mail server in a process of its own, which can be killed; nobody but us brings it back."""

    def __init__(self, folder: Path) -> None:
        self.box = Mailbox(folder)  # to look into; it is not started
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None: it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Start it, if it does not run, and wait until it receives."""
        if self.pid is not None:
            return
        self._spawn()
        if not await until(self._receives, 30.0):
            raise SystemExit("the mail server did not start")

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "console.demo.mailbox", str(self.box.folder), str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    async def _receives(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@dataclass
class Theatre:
    """What all cases play in."""

    stack: Stack
    sound: stage.Stage
    smtp: Smtp
    orders: Orders
    sleeper: Sleeper
    warehouse: Warehouse

    def pid(self, part: str) -> int | None:
        """The process of a part; None: it does not run."""
        if part == "smtp":
            return self.smtp.pid
        return next((p.pid for p in self.stack.status().parts if p.name == part and p.state == "up"), None)

    def spawned(self, process: str) -> int:
        """How often the platform's supervisor has started the process."""
        log = self.sound.plan.folder / "logs" / "supervisord.log"
        return log.read_text(encoding="utf-8", errors="replace").count(f"spawned: '{process}'")

    async def watched_at(self) -> datetime | None:
        """When the last tick was written."""
        try:
            async with self.warehouse.as_tenant(TENANT) as db:
                position = await cursors.get(TENANT, db, "detection")
        except TonewatchError:
            return None  # PostgreSQL is what was killed
        return datetime.fromisoformat(position["time"]) if position else None

    async def stories(self, since: datetime) -> list[Story]:
        """The incidents since then; none while PostgreSQL is away."""
        try:
            return await stories(TENANT, self.warehouse, since)
        except TonewatchError:
            return []


@asynccontextmanager
async def theatre(seed: int, logs: Path) -> AsyncIterator[Theatre]:
    """Soundstage, stack and mail server, up and calm; everything is down afterwards, whatever happened."""
    async with AsyncExitStack() as at_end:
        # Not $TMPDIR: a socket's path may have 107 bytes, and the database's user must be able to come by.
        work = Path(tempfile.mkdtemp(prefix="tonewatch-crashes-", dir="/tmp"))
        work.chmod(0o711)
        at_end.callback(shutil.rmtree, work, ignore_errors=True)
        at_end.callback(_keep_logs, work, logs)
        smtp = Smtp(work / "mailbox")
        at_end.callback(smtp.stop)
        await smtp.start()
        gateway = ports.any_free()
        sound = await at_end.enter_async_context(stage.playing(_plan(work, gateway, seed)))
        (work / "orders").mkdir()
        stack = Stack(_settings(work, gateway, sound, smtp), _parts(work / "orders"))
        at_end.push_async_callback(stack.stop)
        await stack.start()
        warehouse = Warehouse.from_settings(stack.settings)
        at_end.push_async_callback(warehouse.close)
        await _let_players_report(stack, sound, work / "beacon.key", seed)
        sleeper = await at_end.enter_async_context(Sleeper().sleeping())
        yield Theatre(stack, sound, smtp, Orders(work / "orders"), sleeper, warehouse)


def _plan(work: Path, gateway: int, seed: int) -> stage.Plan:
    return stage.Plan(
        folder=work / "stage",
        channels=2,
        players=20,
        seed=seed,
        day_seconds=load_profile(TENANT).day_seconds,
        beacon_url=f"http://127.0.0.1:{gateway}/v1/cmcd",
        beacon_key_file=work / "beacon.key",
        changes_url=f"http://127.0.0.1:{gateway}/v1/changes",
    )


def _settings(work: Path, gateway: int, sound: stage.Stage, smtp: Smtp) -> Any:
    return read().model_copy(
        update={
            "state_dir": work / "state",
            "profile": TENANT,
            "tenant": TENANT,
            "ai_anomaly_detection": False,
            "gateway_port": gateway,
            "prefect_port": ports.any_free(),
            "mlflow_port": ports.any_free(),
            "inventory_url": sound.inventory_url,
            "supervisor_url": SecretStr(sound.supervisor_url),
            "smtp_url": SecretStr(f"smtp://127.0.0.1:{smtp.port}"),
            "mail_to": ("operators@demo.example",),
            "alert_channels": ("email",),
        }
    )


def _parts(orders: Path) -> list[Part]:
    """The stack's own parts; the watcher is started by a program that can kill it to the line."""
    command = [sys.executable, "-m", "tests.campaign.dying_watcher", str(orders)]
    dying: dict[str, Any] = {"command": lambda _: command, "environment": lambda _: {"PYTHONPATH": str(ROOT)}}
    return [replace(p, **dying) if p.name == "watcher" else p for p in PARTS if p.name not in LEFT_OUT]


async def _let_players_report(stack: Stack, sound: stage.Stage, key_file: Path, seed: int) -> None:
    with open_view() as view:
        rehearsal = Rehearsal(stack.settings, sound, Show(view), seed)
        try:
            await rehearsal.let_players_report(key_file)
        finally:
            await rehearsal.close()


def _keep_logs(work: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for log in (*(work / "state").glob("logs/*.log*"), *(work / "stage").glob("logs/supervisord.log")):
        shutil.copy(log, logs)


# One case


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case. Seconds count from the injection, but `away_s`, which counts from the kill."""

    step: int | None
    killed: str
    at: str
    fault: str
    detected_s: float | None = None
    killed_s: float | None = None
    away_s: float | None = None  # until the killed part did its work again
    mended_s: float | None = None
    impact_ended_s: float | None = None
    begun: int = 0  # how often the deed was begun, all under one key
    spawned: int = 0
    mails: int = 0
    repeated_mails: int = 0
    starved_s: float = 0.0
    seconds: float = 0.0
    broken: tuple[str, ...] = ()

    @property
    def void(self) -> bool:
        return is_void(self.starved_s, self.seconds)


async def play(case: Case, scene: Theatre, seed: int) -> Result:
    """Inject, kill, wait until it is over, and hold it against the promises."""
    began, starved = SYSTEM.monotonic(), scene.sleeper.starved_s
    first = await _calm(scene)
    if case.moment is not None:
        pid = scene.pid(str(case.victim)) if case.victim != "watcher" else None
        scene.orders.give(Order(case.moment, pid))
    mails, since = len(scene.smtp.box.messages()), first
    counts = {each: scene.spawned(each) for each in ("transcoder-ch1", "transcoder-ch2", "packager")}
    truth = await scene.sound.inject(case.fault, seed)
    process = truth.entity.partition(":")[2]
    result = Result(
        step=NAMED[case.moment].step if case.moment else None,
        killed=case.victim or "nobody",
        at=NAMED[case.moment].words if case.moment else "",
        fault=f"{case.fault} of {truth.entity}",
    )
    try:
        struck, back, problems = await _let_happen(case, scene, truth, since)
    finally:
        scene.orders.withdraw()
        await scene.smtp.start()
    over = await until(lambda: _over(scene, since), OVER_SECONDS, every=1.0)
    problems += [] if over else ["it was not over within 300 s"]
    spawned = scene.spawned(process) - counts[process]
    letters = scene.smtp.box.messages()[mails:]
    problems += await broken(TENANT, scene.warehouse, since, spawned, letters)
    told = await scene.stories(since)
    result = replace(result, **_times(truth, told, struck, back), spawned=spawned, mails=len(letters))
    if told:
        result = replace(result, begun=len(told[0].attempts), repeated_mails=repeats(told[0].incident.id, letters))
    result = replace(result, impact_ended_s=(await scene.sound.outcome(truth)).impact_ended_s)
    await scene.sound.heal(truth)
    return replace(
        result,
        starved_s=round(scene.sleeper.starved_s - starved, 1),
        seconds=round(SYSTEM.monotonic() - began, 1),
        broken=tuple(problems),
    )


async def _calm(scene: Theatre) -> datetime:
    """Wait until everything runs, no incident is open and the watcher has ticked for a while; the present moment."""
    asked = SYSTEM.now()

    async def calm() -> bool:
        ticked = await scene.watched_at()
        everybody = all(part.state in {"up", "done", "external"} for part in scene.stack.status().parts)
        return everybody and ticked is not None and (ticked - asked).total_seconds() > CALM_SECONDS

    if not await until(calm, BACK_SECONDS + CALM_SECONDS):
        raise SystemExit("the stack is not calm; its logs are in demo-out/crashes")
    return SYSTEM.now()


async def _let_happen(
    case: Case, scene: Theatre, truth: Truth, since: datetime
) -> tuple[Struck | None, datetime | None, list[str]]:
    """Wait for the kill and for the killed part's return: who was struck, when it was back, and what went wrong."""
    if case.moment is None:
        return None, None, []

    async def killed() -> Struck | None:
        return scene.orders.struck()

    struck = await until(killed, MOMENT_SECONDS, every=0.05)
    if struck is None:
        return None, None, [f"the moment {case.moment} did not come"]
    if case.victim == "smtp":
        if not await until(lambda: _mended(scene, since), OVER_SECONDS, every=0.5):
            return struck, None, ["it was not mended while the mail server was away"]
        await scene.smtp.start()
    back = await until(lambda: _back(case, scene, struck), BACK_SECONDS, every=0.1)
    return struck, back, [] if back else [f"{case.victim} was not back within {BACK_SECONDS:.0f} s"]


async def _back(case: Case, scene: Theatre, struck: Struck) -> datetime | None:
    """When the killed part does its work again, in another process; a watcher works when it has written a tick."""
    pid = scene.pid(str(case.victim))
    if pid is None or pid == struck.pid:
        return None
    if case.victim == "watcher":
        ticked = await scene.watched_at()
        return ticked if ticked and ticked > datetime.fromisoformat(struck.time) else None
    return SYSTEM.now()


async def _mended(scene: Theatre, since: datetime) -> bool:
    told = await scene.stories(since)
    return bool(told) and all(story.verdicts for story in told)


async def _over(scene: Theatre, since: datetime) -> bool:
    told = await scene.stories(since)
    return bool(told) and all(story.over for story in told)


def _times(truth: Truth, told: Sequence[Story], struck: Struck | None, back: datetime | None) -> dict[str, Any]:
    def after(time: datetime | None, since: datetime = truth.injected) -> float | None:
        return round((time - since).total_seconds(), 1) if time else None

    killed = datetime.fromisoformat(struck.time) if struck else None
    first = told[0] if told else None
    return {
        "detected_s": after(first.incident.opened) if first else None,
        "mended_s": after(first.verdicts[0].decided) if first and first.verdicts else None,
        "killed_s": after(killed),
        "away_s": after(back, killed) if killed and back else None,
    }


# All of them


async def campaign(cases: Sequence[Case], seed: int, out: Path, logs: Path) -> dict[str, Result]:
    """Play the cases one after another; each result is kept as soon as it is there."""
    results: dict[str, Result] = {}
    void = 0
    mine = asyncio.current_task()
    assert mine is not None
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, mine.cancel)
    async with theatre(seed, logs) as scene:
        for number, case in enumerate(cases):
            result = await play(case, scene, seed + number)
            if result.void:
                void += 1
                print(f"{case.name}: void, starved for {result.starved_s} of {result.seconds} s; repeated", flush=True)
                result = await play(case, scene, seed + number)
            results[case.name] = result
            print(line(case.name, result), flush=True)
            write(out, results, void, seed)
    return results


def line(name: str, result: Result) -> str:
    """One case in one line."""
    good = "all promises hold" if not result.broken else "BROKEN: " + "; ".join(result.broken)
    return (
        f"{name}: killed {result.killed} {result.killed_s} s after the fault ({result.at or 'never'}), "
        f"away {result.away_s} s; detected {result.detected_s} s, mended {result.mended_s} s, "
        f"begun {result.begun}, brought up {result.spawned}, mails {result.mails} "
        f"({result.repeated_mails} repeated), starved {result.starved_s} s: {good}"
    )


def write(folder: Path, results: dict[str, Result], void: int, seed: int) -> None:
    """crashes.json and crashes.md; cases that were not played now keep what an earlier run found, with its date."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "crashes.json"
    before = json.loads(file.read_text(encoding="utf-8"))["figures"] if file.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    fresh = {name: {**asdict(result), "seed": seed, "date": today} for name, result in results.items()}
    figures = {case.name: (before | fresh)[case.name] for case in CASES if case.name in before | fresh}
    for case in CASES:
        whole, bare = figures.get(case.name), figures.get(BASELINE[case.fault])
        if not whole or not bare or not case.victim:
            continue
        known = whole["mended_s"] is not None and bare["mended_s"] is not None
        whole["lost_s"] = round(whole["mended_s"] - bare["mended_s"], 1) if known else None
    record = {
        "figures": figures,
        "void_cases": void,
        "baselines": {name: figures[name]["mended_s"] for name in BASELINE.values() if name in figures},
        "goals": {"broken": [], "spawned": 1, "repeats": "only under the same Message-ID"},
        "data": "soundstage, 2 channels, 20 players, real time; the stack without models, MLflow and worker",
        "seed": sorted({figure["seed"] for figure in figures.values()}),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": today,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "crashes.md").write_text(page(record), encoding="utf-8")


HEAD = {
    "case": "case",
    "step": "step",
    "killed": "killed",
    "at": "at the moment",
    "detected_s": "detected s",
    "killed_s": "killed s",
    "away_s": "away s",
    "mended_s": "mended s",
    "lost_s": "lost by the kill s",
    "begun": "begun",
    "spawned": "brought up",
    "mails": "mails",
    "repeated_mails": "of them repeats",
    "starved_s": "starved s",
    "broken": "broken promises",
}


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        "# Crashes",
        "",
        f"{record['data']}; {record['machine']}; {record['date']}; void cases repeated: {record['void_cases']}.",
        "Made by `make crashes`. Seconds count from the injection of the fault, *away* from the kill until the part",
        "did its work again; *lost* is against the same fault with nobody killed. *Begun* counts how often the deed",
        "was begun, always under the same key; *brought up* how often the platform's supervisor started the process.",
        "",
        "| " + " | ".join(HEAD.values()) + " |",
        "|" + "---|" * len(HEAD),
    ]
    for name, figure in record["figures"].items():
        told = {"case": name, **figure, "broken": "; ".join(figure["broken"]) or "none"}
        cells = ["" if told.get(key) is None else str(told[key]) for key in HEAD]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"cases, separated by commas: {', '.join(case.name for case in CASES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of crashes.json and crashes.md")
    parser.add_argument("--logs", type=Path, default=ROOT / "demo-out" / "crashes")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [case.name for case in CASES]
    unknown = sorted(set(wanted) - {case.name for case in CASES})
    if unknown:
        parser.error(f"no case {', '.join(unknown)}")
    cases = [case for case in CASES if case.name in wanted]
    results = asyncio.run(campaign(cases, options.seed, options.out, options.logs))
    return int(any(result.broken for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
