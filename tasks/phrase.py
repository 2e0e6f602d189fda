"""Puts a report's figures into words: the plain text, which suffices, and the same as HTML for a mail. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tasks.compose import BASES, where
from tasks.draw import HEIGHT_PX, WIDTH_PX, alternative
from tasks.summarise import SEVERITIES, Summary, fate
from tonewatch.availability import Listening, Slo, Spread
from tonewatch.records import ActionState
from warehouse.minutes import FALSE_ALARM, OVER, Saved
from warehouse.weekly import Deed, IncidentLine

TEMPLATES: Final = Path(__file__).parent / "templates"
#: Incidents that a mail lists; the figures count all of them.
LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; every column but the first is of figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a list: a line, and lines of detail."""

    line: str
    details: tuple[str, ...]
    mark: str = ""  # how grave it is, for a colour


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, pairs of name and figure, tables, a list and notes, in this order."""

    heading: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    items: tuple[Item, ...] = ()
    notes: tuple[str, ...] = field(default=())


def subject(summary: Summary) -> str:
    """The mail's subject: which period, how available, how many incidents."""
    told = f"{_percent(summary.total)} available" if summary.total.due_ms else "no data on listening"
    return f"[Tonewatch] {_name(summary)}: {told}, {_plural(len(summary.incidents), 'incident')}"


def plain(summary: Summary) -> str:
    """The report as plain text: it holds every number, also those of the picture."""
    parts = [_title(summary), _span_line(summary), "", *(f"  {line}" for line in _headlines(summary))]
    for section in sections(summary):
        parts += ["", section.heading, "-" * len(section.heading), *_plain_section(section)]
    parts += ["", "The picture in words", "-" * 20, *(f"  {line}" for line in alternative(summary).split("; "))]
    return "\n".join(parts) + "\n"


def rich(summary: Summary, picture: str) -> str:
    """The report as HTML; `picture` is the address of the picture, `cid:...` in a mail. Every value is escaped."""
    return _html().render(
        title=_title(summary),
        span=_span_line(summary),
        tiles=_tiles(summary),
        sections=sections(summary),
        picture=picture,
        width=WIDTH_PX,
        height=HEIGHT_PX,
        alternative=alternative(summary),
    )


def as_document(summary: Summary) -> dict[str, Any]:
    """Every figure by its name, for scripts."""
    total = summary.total
    return {
        "tenant": summary.tenant,
        "period": {"key": summary.period.key, "start": summary.period.start, "end": summary.period.end},
        "as_of": summary.as_of,
        "slo": float(summary.slo.share),
        "availability": summary.slo.figures(total),
        "channels": {name: summary.slo.figures(found) for name, found in summary.channels.items()},
        "incidents": {
            "opened": len(summary.incidents),
            "carried": summary.carried,
            "by_state": summary.by_state,
            "by_severity": summary.by_severity,
            "by_cause": summary.by_cause,
            "lasting": summary.lasting,
            "unfelt": summary.unfelt,
            "lost_minutes_by_basis": summary.lost_by_basis,
            "list": [asdict(each) for each in summary.incidents],
        },
        "mttr": asdict(summary.repaired) if summary.repaired else None,
        "detection": asdict(summary.noticed) if summary.noticed else None,
        "saved": {
            "minutes": summary.saved_minutes,
            "controlled": asdict(summary.controlled),
            "uncontrolled": asdict(summary.uncontrolled),
            "person_minutes": summary.person_minutes,
            "person_cases": summary.person_cases,
        },
        "actions": {"by_runbook": summary.fates, "refused_by": summary.refused_by},
        "pages": asdict(summary.pages),
        "bars": [
            {"start": bar.period.start, "lost_minutes": bar.lost_minutes, "incidents": bar.incidents}
            for bar in summary.bars
        ],
    }


# What is told, in both forms.


def sections(summary: Summary) -> list[Section]:
    """Availability, pages, time to mend, minutes saved, what was done, incidents."""
    return [
        _availability(summary),
        _repair(summary),
        _saved(summary),
        _pages(summary),
        _done(summary),
        _incidents(summary),
    ]


def _headlines(summary: Summary) -> list[str]:
    return [f"{name}: {value} ({remark})" for name, value, remark, _ in _tiles(summary)]


def _tiles(summary: Summary) -> list[tuple[str, str, str, str]]:
    """(name, figure, remark, good | bad | plain)."""
    total, pages, repaired = summary.total, summary.pages, summary.repaired
    kept = {None: "plain", True: "good", False: "bad"}
    false = "good" if pages.false <= pages.allowed else "bad"
    return [
        ("Availability", _percent(total), f"promised {_promised(summary)}", kept[summary.slo.met(total)]),
        ("Lost", *_lost(summary), "plain"),
        ("Saved", f"{summary.saved_minutes:.2f}", "listener-minutes, an estimate", "plain"),
        ("MTTR", _took(repaired.median_s) if repaired else "no data", "median, onset to impact ended", "plain"),
        ("False pages", str(pages.false), f"budget {_pages_number(pages.allowed)}", false),
    ]


def _lost(summary: Summary) -> tuple[str, str]:
    """How many listener-minutes were lost, and by whose count: players', or where none reports the incidents' own."""
    if summary.total.due_ms or not summary.lost_by_basis:
        return f"{summary.total.lost_minutes:.2f}", "listener-minutes"
    return f"{sum(summary.lost_by_basis.values()):.2f}", "listener-minutes, by the incidents' own count"


def _availability(summary: Summary) -> Section:
    total, slo = summary.total, summary.slo
    if not total.due_ms:
        return Section(
            "Availability",
            (("All channels", "no data: players' reports tell it, and none came in this time"),),
            notes=tuple(_basis_notes(summary)),
        )
    facts = (
        (
            "All channels",
            f"{_percent(total)}, {'kept' if slo.met(total) else 'missed'}: {_promised(summary)} was promised",
        ),
        ("Listener-minutes due", f"{total.due_minutes:,.1f}"),
        ("Listener-minutes lost", f"{total.lost_minutes:.2f}"),
        ("The SLO allows to lose", f"{slo.allowed_minutes(total):.2f}"),
        ("Error budget spent", _share(slo.spent(total))),
    )
    rows = tuple((name, *_row(each, slo)) for name, each in summary.channels.items())
    table = Table(("Channel", "Available", "Due, min", "Lost, min", "Allowed, min", "Spent"), rows)
    method = (
        "Availability is 1 - lost / due. Due: minutes between two reports of a session that listened. Lost: sound that "
        "players say was due and absent, and start-up beyond 2 s, whether or not an incident was open."
    )
    return Section("Availability", facts, (table,), notes=(method, *_basis_notes(summary)))


def _row(found: Listening, slo: Slo) -> tuple[str, ...]:
    minutes = (f"{found.due_minutes:,.1f}", f"{found.lost_minutes:.2f}", f"{slo.allowed_minutes(found):.2f}")
    return (_percent(found), *minutes, _share(slo.spent(found)))


def _promised(summary: Summary) -> str:
    return f"{float(summary.slo.share) * 100:.6g} %"


def _basis_notes(summary: Summary) -> list[str]:
    if not summary.lost_by_basis:
        return []
    told = [
        f"{minutes:.2f} listener-minutes {BASES.get(basis, basis)}" for basis, minutes in summary.lost_by_basis.items()
    ]
    return [
        f"The incidents' own count of what they cost: {', '.join(told)}. Incidents may overlap, so this does "
        "not add up to what was lost in all."
    ]


def _repair(summary: Summary) -> Section:
    facts = [
        ("Impact ended after onset (MTTR)", _spread(summary.repaired)),
        ("Noticed after onset", _spread(summary.noticed)),
        ("Not ended yet", ", ".join(summary.lasting) or "none"),
        ("Over without a listener losing sound", str(summary.unfelt)),
    ]
    note = "Incidents that a person called a false alarm are left out."
    return Section("Time to mend", tuple(facts), notes=(note,))


def _saved(summary: Summary) -> Section:
    facts = (
        ("Held against an untouched part", _saved_words(summary.controlled)),
        ("Uncontrolled", _saved_words(summary.uncontrolled)),
        ("Lost in this time", " ".join(_lost(summary))),
    )
    person = (
        f"the median of {_plural(summary.person_cases, 'handed-over incident')} of the last 90 days"
        if summary.person_cases
        else "assumed, since no handed-over incident of the last 90 days tells it"
    )
    method = (
        "An estimate, for incidents whose last verdict is worked: the mean loss per minute while the impact lasted, "
        f"carried on until a person would have ended it, {summary.person_minutes:.1f} min after onset ({person}), "
        "less what was lost. It assumes that the loss would have gone on as it was."
    )
    return Section("Listener-minutes saved", facts, notes=(method,))


def _saved_words(saved: Saved) -> str:
    told = f"{saved.minutes:.2f} listener-minutes in {_plural(saved.count, 'incident')}"
    if saved.inferred_minutes:
        told += f", {saved.inferred_minutes:.2f} of them inferred (their loss was not measured)"
    return told + (f"; {saved.unknown} more without a loss to reckon from" if saved.unknown else "")


def _pages(summary: Summary) -> Section:
    pages = summary.pages
    within = "within the budget" if pages.false <= pages.allowed else "beyond the budget"
    worst = "within" if pages.false + pages.unlabelled <= pages.allowed else "beyond"
    facts = (
        ("Incidents told to people", str(pages.told)),
        ("Called false alarms", f"{pages.false}, {within}"),
        ("Called real", str(pages.real)),
        ("Called planned work", str(pages.planned)),
        ("Nobody has said what they were", f"{pages.unlabelled}; were they all false, {worst} the budget"),
        ("Budget of false pages for this time", _pages_number(pages.allowed)),
        ("Opened but not told (silenced or inhibited)", str(pages.not_told)),
    )
    close = f"tonewatch incidents close ID --verdict real|false-alarm|planned{_whose(summary)}"
    notes = [f"Say what an incident was with `{close}`."] if pages.unlabelled else []
    if summary.asked:
        notes.append(f"Your word would help most with: {'; '.join(summary.asked)}.")
    if summary.unheard:
        notes.append(f"Labels in quarantine, of: {', '.join(summary.unheard)} (`tonewatch incidents authors`).")
    return Section("False pages", facts, notes=tuple(notes))


def _done(summary: Summary) -> Section:
    if not summary.fates:
        return Section("What was done", (("Actions", "none"),))
    facts = [
        (runbook, ", ".join(f"{count} {name}" for name, count in fates.items()))
        for runbook, fates in summary.fates.items()
    ]
    if summary.refused_by:
        facts.append(("Refused by", ", ".join(f"{guard} ({count})" for guard, count in summary.refused_by.items())))
    return Section("What was done", tuple(facts))


def _incidents(summary: Summary) -> Section:
    facts = (
        ("Opened", str(len(summary.incidents))),
        ("By severity", _counts(summary.by_severity)),
        ("By state", _counts(summary.by_state)),
        ("By kind of cause", _counts(summary.by_cause)),
        ("Older ones, not closed yet", str(summary.carried)),
    )
    costly = sorted(summary.incidents, key=lambda e: (SEVERITIES.index(e.severity), -e.lost, e.opened))[:LISTED]
    shown = sorted(costly, key=lambda each: (each.opened, each.id))
    more = len(summary.incidents) - len(shown)
    listing = f"`tonewatch incidents list{_whose(summary)}`"
    notes = (f"{more} more, less grave, are not listed here; {listing} shows them.",) if more else ()
    return Section("Incidents", facts, items=tuple(_item(each, summary.deeds) for each in shown), notes=notes)


def _item(each: IncidentLine, deeds: Sequence[Deed]) -> Item:
    cause = f"{each.cause_entity}:{each.cause_kind}" if each.cause_kind else "not diagnosed"
    judged = {FALSE_ALARM: "; called a false alarm", "planned": "; called planned work", "real": "; called real"}
    noticed = _took((each.opened - each.onset).total_seconds())
    impact = "no listener is known to have lost sound"
    if each.impact_ended is not None:
        # While it is not over, the end of the impact is only the last time that a player missed sound.
        words = "impact ended" if each.state in OVER else "not over, sound last missed"
        impact = f"{words} {_took((each.impact_ended - each.onset).total_seconds())} after onset"
    lost = f"{each.lost:.2f} listener-minutes lost ({BASES.get(each.basis, each.basis)})"
    details = [
        f"{each.title}",
        f"Cause: {cause}",
        f"Onset {each.onset:%Y-%m-%d %H:%M:%S} UTC, noticed {noticed} later; {impact}; {lost}",
        *(_deed(deed) for deed in deeds if deed.incident == each.id),
    ]
    line = f"{each.severity}, {each.state}{judged.get(each.judged, '')}: {each.id}"
    return Item(line, tuple(details), each.severity)


def _deed(deed: Deed) -> str:
    told = f"{deed.runbook} of {deed.target}: {fate(deed)}"
    guards = deed.state == ActionState.REFUSED and deed.refused_by
    return f"{told} by {', '.join(deed.refused_by)}" if guards else told


# Words


def _whose(summary: Summary) -> str:
    return f" --tenant {summary.tenant}{where(summary.state_dir)}"


def _name(summary: Summary) -> str:
    week = summary.period.week
    return f"Week {week[1]} of {week[0]}" if week else f"{_days(summary)} to {summary.period.end:%Y-%m-%d %H:%M} UTC"


def _days(summary: Summary) -> str:
    days = summary.period.seconds / 86_400
    return f"{days:.3g} days" if days != 1 else "1 day"


def _title(summary: Summary) -> str:
    return f"{summary.tenant}: {_name(summary)}"


def _span_line(summary: Summary) -> str:
    start, end, known = summary.period.start, summary.period.end, summary.as_of
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, as known at {known:%Y-%m-%d %H:%M} UTC"


def _percent(found: Listening) -> str:
    return "no data" if found.availability is None else f"{found.availability * 100:.4f} %"


def _share(share: float | None) -> str:
    return "no data" if share is None else f"{share:.1%}".replace("%", " %")


def _spread(found: Spread | None) -> str:
    if found is None:
        return "no data"
    of = _plural(found.count, "incident")
    return f"median {_took(found.median_s)}, worst {_took(found.worst_s)} (of {of})"


def _took(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _pages_number(pages: float) -> str:
    return f"{pages:.2f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# The forms


def _plain_section(section: Section) -> list[str]:
    widest = max((len(name) for name, _ in section.facts), default=0)
    lines = [f"  {name:<{widest}}  {value}" for name, value in section.facts]
    for table in section.tables:
        lines += ["", *_plain_table(table)]
    for item in section.items:
        lines += ["", f"  {item.line}", *(f"    {detail}" for detail in item.details)]
    return [*lines, *([""] if section.notes else []), *(f"  {note}" for note in section.notes)]


def _plain_table(table: Table) -> list[str]:
    rows = [table.head, *table.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.head))]
    return [
        "  " + "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]


@cache
def _template_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _html() -> Template:
    return _template_environment().get_template("weekly.html.j2")
