"""Step 10: tell one incident to people, as one HTML and one Markdown file made from the warehouse alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tonewatch.errors import StateFolderError, WarehouseError
from tonewatch.records import Action, Cause, Finding, Incident, Notice, Sample, Verdict
from warehouse import actions, findings, incidents, notices, samples, verdicts
from warehouse.database import Connection

TEMPLATES = Path(__file__).parent / "templates"
#: What the charts show: metric -> (heading, factor to the unit shown, unit).
CHARTED = {
    "sessions_starved_ratio": ("Sessions without sound", 100.0, "%"),
    "probe_playlist_age_seconds": ("Age of the playlists' newest segment", 1.0, "s"),
}
#: Details of a story's line that are shown with it: the rest stands in the tables, or are ids for machines.
TOLD_DETAILS = ("detector", "actual", "expected", "severity", "confidence", "detail", "controlled", "state", "attempts")
MARGIN = timedelta(seconds=60)  # what the charts show before onset and after the end
LONGEST = timedelta(hours=1)  # no chart shows more
POINTS_PER_LINE = 400
COLOURS = ("#1f6f8b", "#c4572e", "#5b8c3a", "#7a4fa3", "#b58a1b", "#444444")
_SPECIAL = re.compile(r"([\\`*{}\[\]#|<>~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the story; `offset` in seconds from onset."""

    offset: float
    time: datetime
    step: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything that the warehouse holds of one incident."""

    incident: Incident
    story: tuple[Line, ...] = ()
    findings: tuple[Finding, ...] = ()
    causes: tuple[Cause, ...] = ()
    actions: tuple[Action, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notices: tuple[Notice, ...] = ()
    samples: tuple[Sample, ...] = ()

    def verdict_of(self, action: Action) -> Verdict | None:
        """The latest verdict on `action`."""
        mine = [verdict for verdict in self.verdicts if verdict.action == action.key]
        return max(mine, key=lambda verdict: verdict.decided, default=None)


async def report_incident(tenant: str, db: Connection, incident_id: str, folder: Path) -> tuple[Path, Path]:
    """Write `incident-<id>.html` and `.md` into `folder`; a report that is there already is replaced.

    Returns (HTML path, Markdown path). Raises WarehouseError: no such incident. StateFolderError: cannot write there.
    """
    dossier = await gather(tenant, db, incident_id)
    written = []
    for name, content in (("html", as_html(dossier)), ("md", as_markdown(dossier))):
        path = folder / f"incident-{re.sub(r'[^A-Za-z0-9_-]', '_', incident_id)}.{name}"
        _replace(path, content)
        written.append(path)
    return written[0], written[1]


def _replace(path: Path, content: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(content, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise StateFolderError(f"the report {path} cannot be written: {error.strerror}; give another folder") from error


async def gather(tenant: str, db: Connection, incident_id: str) -> Dossier:
    """Read one incident with all that belongs to it. Raises WarehouseError: no such incident."""
    incident = await incidents.get(tenant, db, incident_id)
    if incident is None:
        raise WarehouseError(f"tenant {tenant} has no incident {incident_id}; `tonewatch status` lists those it has")
    start, end = charted_window(incident)
    story = await incidents.story(tenant, db, incident_id)
    return Dossier(
        incident=incident,
        story=tuple(_line(incident, entry) for entry in story),
        findings=tuple(await findings.of_incident(tenant, db, incident_id)),
        causes=tuple(await incidents.causes(tenant, db, incident_id)),
        actions=tuple(await actions.of_incident(tenant, db, incident_id)),
        verdicts=tuple(await verdicts.of_incident(tenant, db, incident_id)),
        notices=tuple(await notices.of_incident(tenant, db, incident_id)),
        samples=tuple(await samples.read(tenant, db, start, end, metrics=list(CHARTED))),
    )


def _line(incident: Incident, entry: incidents.StoryLine) -> Line:
    offset = (entry.time - incident.onset).total_seconds()
    return Line(offset, entry.time, entry.step, entry.what, in_words(entry.detail))


def in_words(detail: Mapping[str, Any]) -> str:
    """Those of a line's details that its own tables do not show again, as `name value` pairs."""
    kept = {name: detail[name] for name in TOLD_DETAILS if detail.get(name) not in (None, "")}
    return "; ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in kept.items())


def charted_window(incident: Incident) -> tuple[datetime, datetime]:
    """From a minute before onset to a minute after the end, at most an hour."""
    first = min(incident.onset, incident.impact_started or incident.onset)
    ends = [time for time in (incident.opened, incident.impact_ended, incident.closed) if time is not None]
    return first - MARGIN, min(max(ends), first + LONGEST) + MARGIN


# From the dossier to text. Pure.


def as_html(dossier: Dossier) -> str:
    """The report as one HTML page that loads nothing from elsewhere; every value is escaped."""
    return _html().get_template("incident.html.j2").render(**_told(dossier), charts=charts(dossier))


def as_markdown(dossier: Dossier) -> str:
    """The report as Markdown; every value is escaped, so that a log line cannot become a heading or a link."""
    return _markdown().get_template("incident.md.j2").render(**_told(dossier))


def _told(dossier: Dossier) -> dict[str, Any]:
    incident = dossier.incident
    deeds = [(action, dossier.verdict_of(action)) for action in dossier.actions]
    lasted = None
    if incident.impact_started and incident.impact_ended:
        lasted = (incident.impact_ended - incident.impact_started).total_seconds()
    return {"dossier": dossier, "incident": incident, "deeds": deeds, "impact_lasted": lasted, "worst": worst(dossier)}


@cache
def _html() -> Environment:
    return _with_filters(Environment(loader=_loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True))


@cache
def _markdown() -> Environment:
    environment = Environment(
        loader=_loader(),
        autoescape=False,  # noqa: S701 - it is HTML's; Markdown has signs of its own and `finalize` escapes every value
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return _with_filters(environment)


def _loader() -> FileSystemLoader:
    return FileSystemLoader(TEMPLATES)


def _with_filters(environment: Environment) -> Environment:
    environment.lstrip_blocks = True
    environment.filters["clock"] = _clock
    environment.filters["number"] = _number
    return environment


def _clock(time: datetime | None) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if time else "not yet"


def _number(value: object) -> str:
    """Numbers with three significant digits; lists as ranges' ends; everything else as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no"}.get(bool(value), "") if value is not None else "unknown"
    if isinstance(value, int | float):
        return f"{value:.3g}" if math.isfinite(value) and abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, list | tuple):
        return " to ".join(_number(each) for each in value)
    return str(value)


def escape_markdown(value: object) -> str:
    """`value` as Markdown text on one line: signs that mean something are escaped, control characters are blanks."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", str(value)).strip())


def worst(dossier: Dossier) -> list[str]:
    """For each charted metric one sentence: its greatest value, of what, and when after onset."""
    told = []
    for metric, (heading, factor, unit) in CHARTED.items():
        mine = [s for s in dossier.samples if s.series.metric == metric and math.isfinite(s.value)]
        if mine:
            top = max(mine, key=lambda sample: sample.value)
            after = (top.time - dossier.incident.onset).total_seconds()
            told.append(f"{heading}: at most {top.value * factor:.3g} {unit} ({top.series.entity}, {after:+.0f} s)")
    return told


# The charts


def charts(dossier: Dossier) -> list[Markup]:
    """One inline SVG per charted metric that has samples."""
    marks = _marks(dossier)
    drawn = []
    for metric, (heading, factor, unit) in CHARTED.items():
        lines = _lines(dossier, metric, factor)
        if lines:
            drawn.append(chart(f"{heading} ({unit}), seconds from onset", lines, marks))
    return drawn


def _lines(dossier: Dossier, metric: str, factor: float) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for sample in dossier.samples:
        if sample.series.metric == metric and math.isfinite(sample.value):
            offset = (sample.time - dossier.incident.onset).total_seconds()
            lines.setdefault(sample.series.entity, []).append((offset, sample.value * factor))
    return lines


def _marks(dossier: Dossier) -> dict[str, float]:
    incident = dossier.incident
    times = {"onset": incident.onset, "opened": incident.opened, "impact ended": incident.impact_ended}
    times |= {action.runbook: action.started for action in dossier.actions if action.started}
    return {name: (time - incident.onset).total_seconds() for name, time in times.items() if time}


def chart(title: str, lines: Mapping[str, Points], marks: Mapping[str, float]) -> Markup:
    """A small line chart as SVG. `lines`: name -> (x, y) in time order, y from 0 up; `marks`: name -> x."""
    low, high = _span(point[0] for points in lines.values() for point in points)
    top = max((y for points in lines.values() for _, y in points), default=0.0) or 1.0
    place = _Place(low, high, top)
    body = [Markup('<line class="axis" x1="40" y1="140" x2="630" y2="140"/>')]
    for value in (0.0, top / 2, top):
        y = place.y(value)
        body.append(Markup('<text class="tick" x="36" y="{:.1f}" text-anchor="end">{:.3g}</text>').format(y + 3, value))
    for row, (name, x) in enumerate((n, x) for n, x in sorted(marks.items(), key=lambda mark: mark[1])):
        if low <= x <= high:
            body.append(_mark(place.x(x), 10 + 9 * (row % 3), f"{name} {x:+.0f} s"))
    for number, (name, points) in enumerate(sorted(lines.items())):
        body.append(_polyline(place, points, COLOURS[number % len(COLOURS)], name))
        body.append(_legend(number, name))
    height = 190 + 14 * ((len(lines) + 1) // 2)
    head = Markup('<svg viewBox="0 0 640 {}" role="img" aria-label="{}">').format(height, title)
    head += Markup('<text class="name" x="0" y="11">{}</text><g transform="translate(0 18)">').format(title)
    return head + Markup("").join(body) + Markup("</g></svg>")


@dataclass(frozen=True, slots=True)
class _Place:
    """From values to the drawing's coordinates."""

    low: float
    high: float
    top: float

    def x(self, value: float) -> float:
        return 40 + 590 * (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        return 140 - 105 * max(value, 0.0) / self.top


def _span(values: Iterable[float]) -> tuple[float, float]:
    known = list(values) or [0.0]
    low, high = min(known), max(known)
    return low, high if high > low else low + 1.0


def _mark(x: float, y: float, label: str) -> Markup:
    line = Markup('<line class="mark" x1="{0:.1f}" y1="30" x2="{0:.1f}" y2="140"/>').format(x)
    return line + Markup('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(x + 2, y, label)


def _polyline(place: _Place, points: Points, colour: str, name: str) -> Markup:
    stride = max(1, math.ceil(len(points) / POINTS_PER_LINE))
    path = " ".join(f"{place.x(x):.1f},{place.y(y):.1f}" for x, y in points[::stride])
    line = Markup('<polyline fill="none" stroke="{}" points="{}"><title>{}</title></polyline>')
    return line.format(colour, path, name)


def _legend(number: int, name: str) -> Markup:
    x, y = 40 + 300 * (number % 2), 160 + 14 * (number // 2)
    box = Markup('<rect x="{}" y="{}" width="8" height="8" fill="{}"/>').format(x, y, COLOURS[number % len(COLOURS)])
    return box + Markup('<text class="tick" x="{}" y="{}">{}</text>').format(x + 12, y + 8, name)
