"""`python -m soundstage.simulator`: weeks of a platform's telemetry in a folder, with the truth beside it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from soundstage.errors import SoundstageError
from soundstage.simulator.wish import START, Wish


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be a date such as 2026-01-05 or 2026-01-05T12:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("name at least one fault, `all` or `none`")
    return () if names == ("none",) else names


def _parser() -> argparse.ArgumentParser:
    usual = Wish()
    parser = argparse.ArgumentParser(
        prog="python -m soundstage.simulator",
        description="Write weeks of an audio-streaming platform's telemetry as a recording (docs/recordings.md). "
        "The same arguments give the same files.",
    )
    parser.add_argument("--series", type=int, default=usual.series, help="how many series, 10 to 10000 (default 100)")
    parser.add_argument("--days", type=float, default=usual.days, help="how many days (default 1)")
    parser.add_argument("--every", type=float, default=usual.every_s, help="seconds between readings (default 60)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="decides all that is left to chance (default 1)")
    parser.add_argument("--start", type=_moment, default=START, help="date of the first reading (default 2026-01-05)")
    parser.add_argument(
        "--faults", type=_faults, default=(), help="faults by name, separated by commas, `all` or `none` (default none)"
    )
    parser.add_argument("--faults-from", type=Path, help="a folder of further faults, a YAML file each")
    parser.add_argument("--per-week", type=float, default=usual.per_week, help="faults in a week (default 5)")
    parser.add_argument("--calm-days", type=float, help="first days without faults (default 28, at most half of all)")
    parser.add_argument("--growth", type=float, default=usual.growth, help="of the audience in a year (default 0.2)")
    parser.add_argument("--players", type=int, default=usual.players, help="listeners that report (default 10)")
    parser.add_argument("--steady", action="store_true", help="neither releases nor planned work nor restarts")
    parser.add_argument(
        "--evening", type=float, default=usual.evening, help="a further peak at nine, so high (default 0)"
    )
    parser.add_argument("--evening-from", type=float, default=usual.evening_from, help="from that day on (default 0)")
    parser.add_argument("--out", type=Path, help="new folder for the recording; the truth comes beside it")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.add_argument("--list-faults", action="store_true", help="print the catalogue as JSON and end")
    return parser


def _say(text: str) -> None:
    sys.stderr.write(f"simulator: {text}\n")
    sys.stderr.flush()


def _run(arguments: argparse.Namespace) -> str:
    # Help and wrong arguments need no numpy.
    from soundstage.simulator import catalogue, recorded
    from soundstage.simulator.telemetry import Simulation

    if arguments.list_faults:
        return json.dumps([asdict(fault) for fault in catalogue.load(arguments.faults_from).values()], indent=1)
    wish = Wish(
        arguments.series,
        arguments.days,
        arguments.every,
        arguments.seed,
        arguments.start,
        arguments.faults,
        arguments.faults_from,
        arguments.per_week,
        arguments.calm_days,
        arguments.growth,
        arguments.players,
        arguments.steady,
        arguments.evening,
        arguments.evening_from,
    )
    written = recorded.write(Simulation(wish), arguments.out, _say)
    if arguments.json:
        return json.dumps(asdict(written), indent=1)
    faults = ", ".join(f"{count} {name}" for name, count in sorted(written.faults.items())) or "none"
    return (
        f"{written.folder}: {written.series} series, {written.samples:,} samples, {written.changes} changes, "
        f"{written.beacons:,} beacons\nfaults: {faults}; the truth is in {written.truth}\nhash {written.hash}"
    )


def main() -> int:
    """Write it; the exit status is 2 for what is wrongly asked."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.list_faults:
        parser.error("--out FOLDER is needed: where the recording goes")
    try:
        told = _run(arguments)
    except SoundstageError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return error.exit_status
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
