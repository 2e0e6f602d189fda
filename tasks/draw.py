"""Draws a report's picture: listener-minutes lost and incidents over the period, as one PNG for a mail."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from policy.period import DAY
from tasks.summarise import SEVERITIES, Bar, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Shown at 600 pixels; twice as many are drawn, for screens that show two for one.
WIDTH_PX: Final = 600
HEIGHT_PX: Final = 310
_DPI: Final = 200
_INK, _FAINT, _LOST = "#1b1f24", "#8a929c", "#1f6f8b"
_SEVERITY_COLOURS: Final = {"critical": "#a3201d", "major": "#d9822b", "minor": "#b9a44c"}
#: With more bars than these a number above each would be a smear.
_NUMBERED: Final = 14


def picture(summary: Summary) -> bytes:
    """The PNG, dark on light: above the minutes lost per bar, below the incidents opened, by severity."""
    # Imported here: it takes half a second, and its Figure needs neither a screen nor pyplot's global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * WIDTH_PX / _DPI, 2 * HEIGHT_PX / _DPI), dpi=_DPI, facecolor="white")
    lost, opened = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1.0])
    _draw_lost(lost, summary.bars)
    _draw_incidents(opened, summary.bars)
    _name_bars(opened, summary.bars)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.91, bottom=0.085, hspace=0.42)
    written = io.BytesIO()
    # Without the date and the version: the same figures give the same bytes, and so the same id.
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _draw_lost(axes: Axes, bars: Sequence[Bar]) -> None:
    values = [bar.lost_minutes for bar in bars]
    drawn = axes.bar(range(len(bars)), values, color=_LOST, width=0.72)
    if len(bars) <= _NUMBERED:
        axes.bar_label(drawn, labels=[f"{value:.1f}" for value in values], fontsize=8, color=_INK, padding=2)
    _dress(axes, f"Listener-minutes lost per {unit(bars)}")
    axes.set_ylim(0, max(values, default=0.0) * 1.18 or 1.0)


def _draw_incidents(axes: Axes, bars: Sequence[Bar]) -> None:
    below = [0] * len(bars)
    for severity in SEVERITIES:
        counts = [bar.incidents.get(severity, 0) for bar in bars]
        axes.bar(range(len(bars)), counts, bottom=below, color=_SEVERITY_COLOURS[severity], width=0.72, label=severity)
        below = [under + count for under, count in zip(below, counts, strict=True)]
    _dress(axes, "Incidents opened")
    top = max(below, default=0)
    axes.set_ylim(0, max(top * 1.1, 1.0))
    axes.set_yticks(sorted({0, (top + 1) // 2, top} if top else {0, 1}))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, fontsize=8, frameon=False, handlelength=1.0)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9.5, color=_INK, fontweight="bold", pad=6)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)


def _name_bars(axes: Axes, bars: Sequence[Bar]) -> None:
    """Write under each bar when it began; of many, under every few."""
    step = max(1, -(-len(bars) // 8))
    places = range(0, len(bars), step)
    axes.set_xticks(list(places), [label(bars[place], bars) for place in places])
    axes.set_xlim(-0.6, len(bars) - 0.4)


def label(bar: Bar, bars: Sequence[Bar]) -> str:
    """When the bar began, as short as the length of `bars` allows: Mon 29 Jun, or 14:03."""
    start, length = bar.period.start, _length(bars)
    if length >= DAY:
        return f"{start:%a} {start.day} {start:%b}"
    return f"{start:%H:%M}" if length % timedelta(minutes=1) == timedelta() else f"{start:%H:%M:%S}"


def _length(bars: Sequence[Bar]) -> timedelta:
    return bars[0].period.end - bars[0].period.start if bars else DAY


def unit(bars: Sequence[Bar]) -> str:
    """What the first bar stands for: day, week, or so many seconds."""
    length = _length(bars)
    known = {DAY: "day", 7 * DAY: "week", timedelta(hours=1): "hour"}
    return known.get(length, f"{length.total_seconds():g} s")


def alternative(summary: Summary) -> str:
    """The picture in words, for who does not see it: every number that it shows."""
    told = [_words(bar, summary.bars) for bar in summary.bars]
    return f"Bars: listener-minutes lost and incidents opened per {unit(summary.bars)}. {'; '.join(told)}."


def _words(bar: Bar, bars: Sequence[Bar]) -> str:
    opened = ", ".join(f"{count} {severity}" for severity, count in bar.incidents.items()) or "none"
    return f"{label(bar, bars)}: {bar.lost_minutes:.1f} lost, {opened} opened"
