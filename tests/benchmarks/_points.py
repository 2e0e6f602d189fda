"""Measures of a score against labelled rows, without point adjustment (/work/shared/data/detection/SCORING.md, 2).

Everything is counted from the definitions with numpy; `smd --check-vus` puts vus_pr beside the package TSB-AD.
Scores: shape (rows,), higher is stranger. Labels: shape (rows,), True where a row belongs to an event.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ml.detectors.base import Floats

Labels = npt.NDArray[np.bool_]
#: The widest buffer around an event, rows, and how many thresholds the volume is counted at.
VUS_BUFFER, VUS_THRESHOLDS = 100, 250
#: Alarms at most so many rows apart are one episode.
EPISODE_GAP = 5


def segments(labels: Labels) -> list[tuple[int, int]]:
    """First and last row of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


def refuse(scores: Floats, labels: Labels) -> None:
    """Raise ValueError: a score that is no number, other lengths, or labels of one kind only."""
    if scores.shape != labels.shape or not np.isfinite(scores).all():
        raise ValueError("a finite score for each label is needed; NaN is an error, never replaced")
    if labels.all() or not labels.any():
        raise ValueError("labels of one kind only: nothing can be measured")


def _curve(scores: Floats, labels: Labels) -> tuple[Floats, Floats, Floats]:
    """True positives, flagged rows and threshold at each distinct score, falling."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return np.cumsum(labels[order])[last].astype(np.float64), last + 1.0, ranked[last]


def auc_pr(scores: Floats, labels: Labels) -> float:
    """Average precision; its floor is the share of labelled rows."""
    refuse(scores, labels)
    hits, flagged, _ = _curve(scores, labels)
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / flagged) / labels.sum())


def best_f1(scores: Floats, labels: Labels) -> float:
    """The largest F1 over all thresholds: an oracle's, who sees the labels."""
    refuse(scores, labels)
    hits, flagged, _ = _curve(scores, labels)
    return float(np.max(2 * hits / (flagged + labels.sum())))


def f1(alarms: Labels, labels: Labels) -> float:
    """F1 of the rows that are flagged; 0 where none is."""
    return float(2 * np.sum(alarms & labels) / max(int(alarms.sum() + labels.sum()), 1))


def adjusted(scores: Floats, labels: Labels, share: float) -> Floats:
    """Scores by which an event counts as wholly found at each threshold that `share` of its rows reach; 0: any row."""
    raised = scores.copy()
    for first, last in segments(labels):
        within = np.sort(scores[first : last + 1])[::-1]
        needed = max(int(np.ceil(share * len(within))), 1)
        raised[first : last + 1] = np.maximum(raised[first : last + 1], within[needed - 1])
    return raised


def adjusted_f1(scores: Floats, labels: Labels, share: float) -> float:
    """PA%K: the largest F1 over all thresholds of `adjusted` scores."""
    return best_f1(adjusted(scores, labels, share), labels)


def vus_pr(scores: Floats, labels: Labels, buffer: int = VUS_BUFFER, thresholds: int = VUS_THRESHOLDS) -> float:
    """Volume under the PR surface (Paparrizos and others, VLDB 2022): the mean over buffers of 0 to `buffer` rows.

    In a buffer of l rows a row at distance d <= l // 2 of an event counts sqrt(1 - d / l); recall is weighed by the
    share of events, merged where their buffers meet, that are touched at all.
    """
    refuse(scores, labels)
    events = segments(labels)
    ranked = -np.sort(-scores)
    levels = ranked[np.linspace(0, len(scores) - 1, thresholds).astype(int)]
    # the first threshold, of falling ones, that flags the row
    first = np.searchsorted(-levels, -scores, side="left")
    flagged = np.searchsorted(-ranked, -levels, side="right").astype(np.float64)
    inside = np.cumsum(np.bincount(first[labels], minlength=thresholds)[:thresholds]).astype(np.float64)
    areas = [_area(first, inside, flagged, labels, events, width) for width in range(buffer + 1)]
    return float(np.mean(areas))


def _area(
    first: npt.NDArray[np.intp],
    inside: Floats,
    flagged: Floats,
    labels: Labels,
    events: list[tuple[int, int]],
    width: int,
) -> float:
    """Area under the PR curve with buffers of `width` rows."""
    reach, count = width // 2, len(labels)
    near = np.zeros(count)
    fading = np.sqrt(1 - np.arange(1, reach + 1) / max(width, 1))
    starts: list[int] = []
    ends: list[int] = []
    for begin, end in events:
        after = min(reach, count - 1 - end)
        before = min(reach, begin)
        near[end + 1 : end + 1 + after] += fading[:after]
        near[begin - before : begin] += fading[:before][::-1]
        if starts and begin - reach <= ends[-1]:
            ends[-1] = min(end + reach, count - 1)
        else:
            starts.append(max(begin - reach, 0))
            ends.append(min(end + reach, count - 1))
    around = np.flatnonzero((near > 0) & ~labels)
    weights = np.minimum(near[around], 1.0)
    buffered = np.cumsum(np.bincount(first[around], weights, minlength=len(flagged))[: len(flagged)])
    touched = np.sort([first[begin : end + 1].min() for begin, end in zip(starts, ends, strict=True)])
    existing = np.searchsorted(touched, np.arange(len(flagged)), side="right") / len(starts)
    hits = inside + buffered
    recall = np.minimum(hits / (labels.sum() + buffered / 2), 1.0) * existing
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / flagged))


def event_f1(alarms: Labels, labels: Labels, gap: int = EPISODE_GAP) -> tuple[float, float | None]:
    """F1 of alarm episodes against events, and the median delay in rows from an event's start to its first alarm.

    Precision counts episodes that touch an event, recall events that are touched; None: none is.
    """
    rows = np.flatnonzero(alarms)
    if not len(rows):
        return 0.0, None
    cut = np.flatnonzero(np.diff(rows) > gap + 1)
    begins, ends = rows[np.append(0, cut + 1)], rows[np.append(cut, len(rows) - 1)]
    true = sum(bool(labels[begin : end + 1].any()) for begin, end in zip(begins, ends, strict=True))
    events = segments(labels)
    delays = [int(np.argmax(alarms[first : last + 1])) for first, last in events if alarms[first : last + 1].any()]
    precision, recall = true / len(begins), len(delays) / len(events)
    if not delays:
        return 0.0, None
    return float(2 * precision * recall / (precision + recall)), float(np.median(delays))


def measures(scores: Floats, labels: Labels, alarms: Labels | None = None) -> dict[str, Any]:
    """All of them; those of the automatic threshold only with `alarms`."""
    found: dict[str, Any] = {
        "auc_pr": auc_pr(scores, labels),
        "vus_pr": vus_pr(scores, labels),
        "f1_best": best_f1(scores, labels),
    } | {f"pa{share}": adjusted_f1(scores, labels, share / 100) for share in (0, 20, 50, 80)}
    if alarms is not None:
        found["f1_auto"] = f1(alarms, labels)
        found["event_f1"], found["delay_rows"] = event_f1(alarms, labels)
    return found
