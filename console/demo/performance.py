"""`tonewatch demo`: a real platform, a real fault, the whole loop, and a judgement against the truth at the end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from console.demo import stage, summary
from console.demo.live import open_view
from console.demo.mailbox import Mailbox
from console.demo.rehearsal import Rehearsal
from console.demo.show import Show
from console.stack import ports
from console.stack.lifecycle import Stack
from console.starvation import Sleeper
from tonewatch import settings as settings_of
from tonewatch.clock import SYSTEM
from tonewatch.errors import FaultError, SettingsError, StateFolderError, TonewatchError
from tonewatch.settings import Settings, load_profile

PROFILE = TENANT = "demo"
ALL = "all"
READER = "operators@demo.example"
#: What a run leaves in its output folder, and what the next run clears away there.
OUTPUTS = ("incident-*.html", "incident-*.md", "mailbox/*.eml", "result.json")


@dataclass(frozen=True, slots=True)
class Options:
    """What `tonewatch demo` was asked for."""

    faults: tuple[str, ...] = ("transcoder-crash",)
    faults_from: Path | None = None
    seed: int = 1
    json_file: Path | None = None
    channels: int = 2
    players: int = 20
    keep: bool = False
    out: Path = field(default_factory=lambda: Path("demo-out"))
    state_dir: Path | None = None
    calm_s: float = 0.0


class Interrupts:
    """Ctrl-C and SIGTERM: the first ends the task in order, further ones are ignored while that goes on."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self.waiting: asyncio.Event | None = None  # set: the first ends this wait alone, not the task

    @contextmanager
    def caught_for(self, task: asyncio.Task[int]) -> Iterator[None]:
        """Catch them for `task`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._catch, number, task)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _catch(self, number: signal.Signals, task: asyncio.Task[int]) -> None:
        if self.waiting is not None:
            self.waiting.set()
        elif self.caught is None:
            self.caught = number
            task.cancel()


async def demo(options: Options) -> int:
    """Run the demo; gives the exit status (128 + signal when it was interrupted).

    Raises TonewatchError: something could not be started or carried on. Whatever happens, no process is left.
    """
    interrupts = Interrupts()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs is in a task
    with interrupts.caught_for(task):
        try:
            return await _demo(options, interrupts)
        except asyncio.CancelledError:
            if interrupts.caught is None:
                raise
            return 128 + interrupts.caught
        except TonewatchError:
            print(f"the logs of this run are in {options.out.absolute() / 'logs'}", file=sys.stderr)
            raise


async def _demo(options: Options, interrupts: Interrupts) -> int:
    _clear(options.out)
    faults = await _names(options)
    async with AsyncExitStack() as at_end:
        show, view_end = await _on_show(at_end)
        run = await _bring_up(options, show, at_end)
        await run.rehearsal.let_players_report(run.key_file)
        if run.stack.settings.ai_anomaly_detection:
            await run.rehearsal.learn()
        if options.calm_s:
            await run.rehearsal.keep_calm(options.calm_s)
        for fault in faults:
            await run.rehearsal.prove(fault)
        came_to = await _sum_up(options, run)
        await view_end()
        _tell(options, came_to)
        if options.keep:
            await _keep(interrupts)
    return came_to.exit_status


@dataclass(frozen=True, slots=True)
class Run:
    """What is up while the demo runs."""

    stack: Stack
    rehearsal: Rehearsal
    mailbox: Mailbox
    sleeper: Sleeper
    key_file: Path
    since: float  # monotonic


def _clear(out: Path) -> None:
    """Take away what an earlier run left. Raises StateFolderError: the folder cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for pattern in OUTPUTS:
            for path in out.glob(pattern):
                path.unlink()
        (out / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise StateFolderError(f"{out} cannot be written ({error.strerror}); choose another with --out") from error


async def _names(options: Options) -> list[str]:
    """The faults to prove, in order. Raises FaultError: one is unknown; says which are known."""
    known = await stage.fault_names(options.faults_from)
    if options.faults == (ALL,):
        return known
    for name in options.faults:
        if name not in known:
            raise FaultError(f"no fault {name!r}; known are {', '.join(known)}, or {ALL}")
    return list(options.faults)


async def _on_show(at_end: AsyncExitStack) -> tuple[Show, Callable[[], Awaitable[None]]]:
    """Open the view and keep it moving; the second is what closes it."""
    closing = AsyncExitStack()
    show = Show(closing.enter_context(open_view()))
    moving = asyncio.create_task(show.go_on())

    async def stop() -> None:
        moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving

    closing.push_async_callback(stop)
    at_end.push_async_callback(closing.aclose)
    return show, closing.aclose


async def _bring_up(options: Options, show: Show, at_end: AsyncExitStack) -> Run:
    """Soundstage first, since the watcher must know its inventory; then the stack."""
    work = await at_end.enter_async_context(_work_folder(options))
    mailbox = at_end.enter_context(Mailbox(options.out / "mailbox"))
    sleeper = await at_end.enter_async_context(Sleeper().sleeping())
    since, day = SYSTEM.monotonic(), load_profile(PROFILE).day_seconds
    gateway_port, key_file = ports.any_free(), work / "beacon.key"
    plan = stage.Plan(
        folder=work / "stage",
        channels=options.channels,
        players=options.players,
        seed=options.seed,
        day_seconds=day,
        beacon_url=f"http://127.0.0.1:{gateway_port}/v1/cmcd",
        beacon_key_file=key_file,
        changes_url=f"http://127.0.0.1:{gateway_port}/v1/changes",
        faults_from=options.faults_from.resolve() if options.faults_from else None,
    )
    show.enter("starting the soundstage: sources, transcoders, packager, origin, edges, players")
    sound = await at_end.enter_async_context(stage.playing(plan))
    show.enter("starting the stack: PostgreSQL, Redis, Prefect, MLflow, gateway, worker, watcher")
    settings = _settings(options, sound, mailbox, gateway_port, work)
    stack = Stack(settings, progress=lambda part, what: show.say(f"{part}: {what}"))
    at_end.push_async_callback(_down, stack, show)
    await stack.start()
    for limit in load_profile(PROFILE).guardrails.opened():
        show.say(f"opened for the demo on purpose: {limit}")
    rehearsal = Rehearsal(stack.settings, sound, show, options.seed)
    at_end.push_async_callback(rehearsal.close)
    return Run(stack, rehearsal, mailbox, sleeper, key_file, since)


async def _down(stack: Stack, show: Show) -> None:
    show.say("taking everything down")
    await stack.stop()


def _settings(options: Options, sound: stage.Stage, mailbox: Mailbox, gateway_port: int, work: Path) -> Settings:
    """The user's settings with what makes them the demo's. Ports are free ones: another stack may have the usual."""
    given = settings_of.read()
    if not given.monitoring_enabled:
        raise SettingsError("MONITORING_ENABLED is off: a demo that watches nothing shows nothing; switch it on")
    return given.model_copy(
        update={
            "state_dir": (options.state_dir or work / "state").absolute(),
            "profile": PROFILE,
            "tenant": TENANT,
            "gateway_port": gateway_port,
            "prefect_port": given.prefect_port or ports.any_free(),
            "mlflow_port": given.mlflow_port or ports.any_free(),
            "inventory_url": sound.inventory_url,
            "supervisor_url": SecretStr(sound.supervisor_url),
            "smtp_url": SecretStr(mailbox.url),
            "mail_to": (READER,),
            "alert_channels": _channels(given),
        }
    )


def _channels(given: Settings) -> tuple[str, ...]:
    """The user's choice; else e-mail into the demo's mailbox, and Slack where a webhook is set."""
    if "alert_channels" in given.model_fields_set:
        return given.alert_channels
    return ("email", "slack") if given.slack_webhook_url else ("email",)


@asynccontextmanager
async def _work_folder(options: Options) -> AsyncIterator[Path]:
    """A folder for everything that does not survive; the logs are copied out of it before it goes."""
    # Not $TMPDIR: a socket's path may have 107 bytes, and the database's user must be able to come by.
    work = Path(tempfile.mkdtemp(prefix="tonewatch-demo-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            work.chmod(0o711)  # the embedded database runs as nobody then
        yield work
    finally:
        state = options.state_dir or work / "state"
        with suppress(OSError):  # what cannot be copied must not keep the rest from being cleared away
            for log in (*state.glob("logs/*.log"), work / "stage" / "soundstage.log"):
                shutil.copy(log, options.out / "logs")
        shutil.rmtree(work, ignore_errors=True)


async def _sum_up(options: Options, run: Run) -> summary.Summary:
    faults, false = await run.rehearsal.judge()
    told = [fault.incident_id for fault in faults if fault.incident_id]
    reports = await run.rehearsal.report([*told, *(seen.incident.id for seen in false)], options.out.absolute())
    status = await asyncio.to_thread(run.stack.status)
    addresses = {part.name: part.url for part in status.parts if part.url and part.url.startswith("http")}
    paths = {f"report {number}": path for number, path in enumerate(reports, 1)}
    if options.keep:  # with the truth of its faults, as long as it stays up
        paths["soundstage"] = run.key_file.parent / "stage"
    return summary.Summary(
        seed=options.seed,
        faults=tuple(faults),
        false=tuple(false),
        host_starved_s=max(run.sleeper.starved_s, _starved_by_the_watcher(run)),
        lasted_s=SYSTEM.monotonic() - run.since,
        started_s={part.name: part.started_s for part in status.parts if part.started_s is not None},
        memory_mib={part.name: part.memory_mib for part in status.parts if part.memory_mib is not None},
        mails=len(run.mailbox.messages()),
        paths=paths | {"mailbox": run.mailbox.folder.absolute(), "result": (options.out / "result.json").absolute()},
        addresses=addresses,
    )


def _starved_by_the_watcher(run: Run) -> float:
    """What the watcher itself measured: by work as well as by sleep, from when it began."""
    return float((run.rehearsal.picture.get("host") or {}).get("starved_s") or 0.0)


def _tell(options: Options, came_to: summary.Summary) -> None:
    print(*summary.lines(came_to), sep="\n", flush=True)
    text = json.dumps(came_to.to_json(), indent=1) + "\n"
    for path in {options.out / "result.json", options.json_file or options.out / "result.json"}:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StateFolderError(f"the result cannot be written to {path}: {error.strerror}") from error


async def _keep(interrupts: Interrupts) -> None:
    print("everything stays up; Ctrl-C takes it down", flush=True)
    interrupts.waiting = asyncio.Event()
    await interrupts.waiting.wait()
