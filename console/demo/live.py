"""The live view: a picture of the platform on a terminal, plain lines elsewhere.

`render` and `changes` are pure: a scene in, something to print out. The two views differ only in which they use.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tonewatch.clock import SYSTEM, Clock

STEPS = ("collect", "check", "detect", "correlate", "diagnose", "decide", "act", "verify", "notify", "report")
STAGES = ("source", "ingest", "transcode", "package", "origin", "edge")
#: Sign and style of each health; the sign alone tells it too, for those who see no colour.
HEALTH = {"ok": ("●", "green"), "warn": ("▲", "yellow"), "down": ("✖", "bold red"), "unknown": ("?", "dim")}
#: The sound-level bar spans these, in LUFS.
QUIETEST, LOUDEST = -60.0, 0.0
HEARTBEAT_SECONDS = 15.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

Picture = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see at one moment. `done` and `of`: seconds of the phase, when its length is known."""

    phase: str
    elapsed: float  # seconds since the demo began
    picture: Picture = field(default_factory=dict)  # the watcher's live picture; empty before its first tick
    done: float | None = None
    of: float | None = None


def plain(text: object) -> str:
    """`text` on one line and without control characters: entity names and log lines come from outside."""
    return _CONTROL.sub(" ", str(text)).strip()


# The picture on a terminal


def render(scene: Scene) -> RenderableType:
    """The scene as one rich renderable, about 25 lines high for two channels; what matters most stands on top."""
    picture = scene.picture
    if not picture:
        return _headline(scene)
    return Group(
        _headline(scene),
        _rule("platform"),
        _chain(picture),
        *_notes(picture),
        _rule("incident"),
        _incident(picture),
        _rule("sound"),
        _sound(picture),
        _rule("last findings"),
        *_findings(picture),
        _footer(picture),
    )


def _rule(title: str) -> Rule:
    return Rule(title, align="left", style="dim", characters="─")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _headline(scene: Scene) -> Text:
    text = Text.assemble((" Tonewatch demo ", "reverse bold"), f" {_clock(scene.elapsed)}  ", (scene.phase, "bold"))
    text.no_wrap, text.overflow = True, "ellipsis"
    if scene.done is not None and scene.of:
        share = min(max(scene.done / scene.of, 0.0), 1.0)
        text.append(f"  {'█' * round(share * 12):░<12} {scene.done:.0f} of {scene.of:.0f} s")
    return text


def _short(entity: str) -> str:
    return plain(entity).partition(":")[2] or plain(entity)


def _within(stage: str, entity: str) -> str:
    """The entity's name without what the column's head says: source-ch1-primary is ch1-primary under `source`."""
    name = _short(entity)
    head, _, rest = name.partition("-")
    return rest if rest and not rest.isdigit() and head.startswith(stage) else name


def _part(stage: str, entity: str, state: Mapping[str, Any]) -> Text:
    sign, style = HEALTH.get(str(state.get("health")), HEALTH["unknown"])
    return Text.assemble((f"{sign} ", style), _within(stage, entity))


def _notes(picture: Picture) -> Iterator[Text]:
    """What is wrong with the parts that are not well, at most three: what is worst comes first."""
    unwell = [(e, s) for e, s in _mapping(picture, "entities").items() if s.get("health") in ("down", "warn")]
    for entity, state in sorted(unwell, key=lambda pair: (pair[1]["health"], pair[0]))[:3]:
        sign, style = HEALTH[state["health"]]
        note = f" {_short(entity)}: {plain(state.get('note') or state['health'])}"
        yield Text.assemble((sign, style), note, overflow="ellipsis", no_wrap=True)


def _by_stage(picture: Picture) -> dict[str, list[Text]]:
    columns: dict[str, list[Text]] = {stage: [] for stage in STAGES}
    for entity, state in sorted(_mapping(picture, "entities").items()):
        if state.get("stage") in columns:
            columns[state["stage"]].append(_part(state["stage"], entity, state))
    return columns


def _chain(picture: Picture) -> Table:
    """One column per stage, in the order the sound flows."""
    columns = {stage: parts for stage, parts in _by_stage(picture).items() if parts}
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=True, header_style="dim")
    last = list(columns)[-1] if columns else ""
    for stage in columns:
        table.add_column(stage if stage == last else f"{stage} →", overflow="fold")
    for row in range(max(map(len, columns.values()), default=0)):
        table.add_row(*(parts[row] if row < len(parts) else Text() for parts in columns.values()))
    return table


def level_bar(lufs: float | None, width: int = 20) -> str:
    """The loudness as a bar of `width` signs; empty at -60 LUFS and below, or when nothing was heard."""
    if lufs is None:
        return "·" * width
    share = (min(max(lufs, QUIETEST), LOUDEST) - QUIETEST) / (LOUDEST - QUIETEST)
    return f"{'▮' * round(share * width):·<{width}}"


def _sound(picture: Picture) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=False)
    for rendition, heard in sorted(_mapping(picture, "sound").items()):
        lufs, silent, age = (heard.get(name) for name in ("lufs", "silent_s", "age_s"))
        table.add_row(
            _short(rendition),
            Text(level_bar(lufs), style="green" if not silent else "red"),
            "no sound" if lufs is None else f"{lufs:6.1f} LUFS",
            f"silent for {silent:.0f} s" if silent else "" if age is None else f"playlist {age:.1f} s old",
        )
    return Group(table, Text(players_line(picture)))


def players_line(picture: Picture) -> str:
    """How the listeners fare, in one line."""
    players = _mapping(picture, "players")
    ratio = 100.0 * float(players.get("starved_ratio") or 0.0)
    sessions, stalls = (float(players.get(name) or 0.0) for name in ("sessions", "stalls"))
    return f"players {sessions:.0f} · without sound {ratio:.0f} % · stalls {stalls:.0f}"


def _incident(picture: Picture) -> RenderableType:
    incidents = picture.get("incidents") or []
    if not incidents:
        return Text("none", style="dim")
    return Group(*(line for incident in incidents for line in _incident_lines(incident)))


def _incident_lines(incident: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text.assemble((plain(incident.get("title", "")), "bold"), f"  [{plain(incident.get('state', ''))}]")
    yield _steps(str(incident.get("step", "")))
    if incident.get("cause"):
        yield Text(f"cause   {cause_text(incident)}")
    if incident.get("action") or incident.get("reason"):
        yield Text(f"decided {deed_text(incident)}")
    if incident.get("verdict"):
        yield Text(f"verdict {plain(incident['verdict'])}")
    if incident.get("listener_minutes_lost") is not None:
        yield Text(f"lost    {float(incident['listener_minutes_lost']):.2f} listener-minutes")


def cause_text(incident: Mapping[str, Any]) -> str:
    """The first cause and how sure of it the loop is."""
    confidence = incident.get("confidence")
    return plain(incident["cause"]) + (f" ({float(confidence):.0%})" if confidence is not None else "")


def deed_text(incident: Mapping[str, Any]) -> str:
    """What was decided, and why."""
    reason = f", because {plain(incident['reason'])}" if incident.get("reason") else ""
    return f"{plain(incident.get('action') or 'nothing to do')}{reason}"


def _steps(step: str) -> Text:
    """The ten steps; those behind are green, the present one is marked."""
    at = STEPS.index(step) if step in STEPS else -1
    text = Text()
    for number, name in enumerate(STEPS):
        style = "reverse bold yellow" if number == at else "green" if number < at else "dim"
        text.append(f"[{name}]" if number == at else name, style=style)
        text.append(" ")
    return text


def _findings(picture: Picture) -> Iterator[Text]:
    for finding in (picture.get("findings") or [])[-4:]:
        yield Text(finding_text(finding), overflow="ellipsis", no_wrap=True)


def finding_text(finding: Mapping[str, Any]) -> str:
    """Time of day, kind, entity and summary."""
    time = plain(finding.get("time", ""))
    names = (time[11:19] or time, finding.get("kind", ""), finding.get("entity", ""), finding.get("summary", ""))
    return "  ".join(plain(name) for name in names if name)


def _footer(picture: Picture) -> Text:
    models = ", ".join(f"{plain(family)} {plain(version)}" for family, version in champions(picture).items())
    host = _mapping(picture, "host")
    told = "".join(f" · {line}" for line in series_line(picture))
    return Text(
        f"models {models or 'none yet'}{told} · host starved {float(host.get('starved_s') or 0):.0f} s", style="dim"
    )


def series_line(picture: Picture) -> list[str]:
    """How many single series are followed, and how many of their families may tell anything; none where none is."""
    series = _mapping(picture, "series")
    if not series:
        return []
    count = f"{plain(series.get('followed', 0))} series followed"
    if not series.get("caught_up"):
        return [f"{count}, catching up with the past"]
    refused = f", no room for {plain(series['refused'])}" if series.get("refused") else ""
    told, of = (plain(series.get(name, 0)) for name in ("thresholds", "families"))
    course = f", {plain(series['by_course'])} judged by the platform's course" if series.get("by_course") else ""
    return [f"{count}{refused}, {told} of {of} families can tell{course}"]


def champions(picture: Picture) -> dict[str, Any]:
    """{family: version} of the models that score now."""
    return {family: version for family, version in sorted(_mapping(picture, "models").items()) if version}


def _mapping(picture: Picture, key: str) -> Mapping[str, Any]:
    return picture.get(key) or {}


# The same as plain lines


def changes(before: Picture, now: Picture) -> list[str]:
    """One line for each thing that differs between two pictures; levels and ages alone are no change."""
    lines = [*_health_changes(before, now), *_finding_changes(before, now), *_incident_changes(before, now)]
    for family, version in champions(now).items():
        if champions(before).get(family) != version:
            lines.append(f"model {plain(family)} {plain(version)} scores from now on")
    return lines


def _health_changes(before: Picture, now: Picture) -> Iterator[str]:
    known = _mapping(before, "entities")
    for entity, state in sorted(_mapping(now, "entities").items()):
        was = known.get(entity, {}).get("health", "ok")
        if state.get("health") not in (was, "unknown") and (was, state.get("health")) != ("unknown", "ok"):
            note = f" ({plain(state['note'])})" if state.get("note") else ""
            yield f"{plain(entity)} is {plain(state.get('health'))}{note}"


def _finding_changes(before: Picture, now: Picture) -> Iterator[str]:
    known = {_finding_key(finding) for finding in before.get("findings") or []}
    for finding in now.get("findings") or []:
        if _finding_key(finding) not in known:
            yield f"finding: {finding_text(finding)}"


def _finding_key(finding: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(finding.get(name)) for name in ("time", "entity", "kind", "summary"))


def _incident_changes(before: Picture, now: Picture) -> Iterator[str]:
    known = {incident.get("id"): incident for incident in before.get("incidents") or []}
    for incident in now.get("incidents") or []:
        was = known.pop(incident.get("id"), {})
        if not was:
            yield f"incident: {plain(incident.get('title', ''))}"
        if incident.get("cause") and _differs(was, incident, "cause"):
            yield f"cause: {cause_text(incident)}"
        if (incident.get("action") or incident.get("reason")) and _differs(was, incident, "action", "reason"):
            yield f"decided: {deed_text(incident)}"
        if incident.get("verdict") and _differs(was, incident, "verdict"):
            yield f"verdict: {plain(incident['verdict'])}"
        if _differs(was, incident, "step", "state"):
            yield f"step: {plain(incident.get('step', ''))}, incident {plain(incident.get('state', ''))}"
    for gone in known.values():
        yield f"incident over: {plain(gone.get('title', ''))}"


def _differs(was: Mapping[str, Any], now: Mapping[str, Any], *names: str) -> bool:
    return any(was.get(name) != now.get(name) for name in names)


def heartbeat(scene: Scene) -> str:
    """The scene in one line, for when nothing changes."""
    progress = f", {scene.done:.0f} of {scene.of:.0f} s" if scene.done is not None and scene.of else ""
    parts = [plain(scene.phase) + progress]
    if scene.picture:
        states = [str(state.get("health")) for state in _mapping(scene.picture, "entities").values()]
        parts += [f"{states.count('ok')} of {len(states)} parts ok", players_line(scene.picture)]
        parts += series_line(scene.picture)
    return "; ".join(parts)


# The two views


class View(Protocol):
    """Where the demo shows itself."""

    def show(self, scene: Scene) -> None:
        """The present scene; call as often as there is news, about once a second."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


class TerminalView:
    """A picture that is redrawn in place; said lines scroll by above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, scene: Scene) -> None:
        self._live.update(render(scene))

    def say(self, text: str) -> None:
        self._live.console.print(Text(plain(text)))


class PlainView:
    """One line per change and a heartbeat, for logs and pipes."""

    def __init__(self, out: TextIO, clock: Clock = SYSTEM) -> None:
        self._out, self._clock, self._began = out, clock, clock.monotonic()
        self._spoke = self._began
        self._picture: Picture = {}

    def show(self, scene: Scene) -> None:
        lines = changes(self._picture, scene.picture) if scene.picture else []
        self._picture = scene.picture or self._picture
        if not lines and self._clock.monotonic() - self._spoke >= HEARTBEAT_SECONDS:
            lines = [heartbeat(scene)]
        for line in lines:
            self.say(line)

    def say(self, text: str) -> None:
        self._spoke = self._clock.monotonic()
        print(f"[{_clock(self._spoke - self._began):>5}] {plain(text)}", file=self._out, flush=True)


@contextmanager
def open_view(out: TextIO = sys.stdout) -> Iterator[View]:
    """The view that fits `out`: a picture on a terminal, else plain lines."""
    if not out.isatty():
        yield PlainView(out)
        return
    console = Console(file=out)
    with Live(console=console, auto_refresh=True, refresh_per_second=4, transient=True) as live:
        yield TerminalView(live)
