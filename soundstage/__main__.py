"""`python -m soundstage`: run the platform, let faults happen on it, and see what they cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soundstage.errors import SoundstageError


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return number


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be a date such as 2026-01-31T12:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m soundstage", description="A small real audio-streaming platform, its faults and their truth."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands)
    faults = commands.add_parser("faults", help="list the faults as JSON")
    inject = commands.add_parser("inject", help="let a fault happen; prints its truth as JSON")
    inject.add_argument("name", help="which fault; see `faults`")
    inject.add_argument("--seed", type=int, default=1, help="what is hit is chosen by it (default 1)")
    for command in (faults, inject):
        command.add_argument("--faults-from", type=Path, help="a folder of further faults (docs/faults.md)")
    heal = commands.add_parser("heal", help="take a fault away")
    outcome = commands.add_parser("outcome", help="what a fault cost the listeners, as JSON")
    outcome.add_argument("--until", type=_moment, help="as of this date (default: now, or the next fault's injection)")
    for command in (heal, outcome):
        command.add_argument("id", help="the id that `inject` printed")
    audience = _add_audience(commands)
    for command in (inject, heal, outcome, audience):
        command.add_argument("--dir", type=Path, required=True, help="the folder that `run` was given")
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="run the platform in the foreground until SIGTERM or Ctrl-C")
    run.add_argument("--dir", type=Path, required=True, help="folder for stage.json, logs and records")
    run.add_argument("--channels", type=_positive, default=2, help="how many channels (default 2)")
    run.add_argument("--players", type=_positive, default=20, help="how many players at most (default 20)")
    run.add_argument("--seed", type=int, default=1, help="the programme's seed (default 1)")
    run.add_argument("--day", type=_seconds, default=90.0, help="length of a compressed day in seconds (default 90)")
    run.add_argument("--beacon-url", help="where the players send CMCD beacons (default: nowhere)")
    run.add_argument("--beacon-key-file", type=Path, help="file with the beacons' key; it may come later")
    run.add_argument("--changes-url", help="where releases and maintenance are announced (default: nowhere)")
    run.add_argument("--changes-key-file", type=Path, help="file with the key for that; it may come later")
    run.add_argument("--faults-from", type=Path, help="a folder of further faults, checked before the start")
    run.add_argument(
        "--nice", type=int, default=0, help="lower the platform's share of the CPU (default 0, at most 19)"
    )


def _add_audience(commands: Any) -> Any:
    audience = commands.add_parser("audience", help="change for good what the audience listens to; prints it as JSON")
    audience.add_argument("--channel", required=True, help="the channel that is favoured from now on")
    audience.add_argument("--rendition", required=True, help="and its rendition")
    audience.add_argument("--share", type=float, default=1.0, help="share of the listeners, 0 to 1 (default 1)")
    audience.add_argument("--from-hour", type=float, default=0.0, help="each day from this hour on (default 0)")
    audience.add_argument("--to-hour", type=float, default=24.0, help="up to this hour (default 24)")
    return audience


def _absolute(path: Path | None) -> Path | None:
    return path.resolve() if path else None


def _run(arguments: argparse.Namespace) -> None:
    from soundstage.faults import registry
    from soundstage.running import Wish, run

    if arguments.faults_from:
        registry.load(arguments.faults_from)
    if arguments.nice:
        os.nice(arguments.nice)
    run(
        Wish(
            arguments.dir,
            arguments.channels,
            arguments.players,
            arguments.seed,
            arguments.day,
            arguments.beacon_url,
            _absolute(arguments.beacon_key_file),
            arguments.changes_url,
            _absolute(arguments.changes_key_file),
        )
    )


def _faults(arguments: argparse.Namespace) -> object:
    from soundstage.faults import registry

    faults = registry.load(arguments.faults_from)
    return [
        {"name": name, "is_fault": fault.is_fault, "summary": (fault.__doc__ or "").strip().partition("\n")[0]}
        for name, fault in faults.items()
    ]


def _inject(arguments: argparse.Namespace) -> object:
    from soundstage import injection

    outside = arguments.faults_from.resolve() if arguments.faults_from else None
    return injection.inject(arguments.name, arguments.dir.resolve(), outside, arguments.seed)


def _heal(arguments: argparse.Namespace) -> object:
    from soundstage import injection

    return injection.heal(arguments.id, arguments.dir.resolve())


def _outcome(arguments: argparse.Namespace) -> object:
    from soundstage import outcome

    return asdict(outcome.of_fault(arguments.id, arguments.dir.resolve(), arguments.until))


def _audience(arguments: argparse.Namespace) -> object:
    from soundstage import injection

    names = ("channel", "rendition", "share", "from_hour", "to_hour")
    with injection.open_stage(arguments.dir.resolve(), seed=0) as stage:
        return stage.favour({name: getattr(arguments, name) for name in names})


def main() -> int:
    """Run a command; the exit status is 2 for what is wrongly written, 1 for what did not work."""
    arguments = _parser().parse_args()
    commands = {"run": _run, "faults": _faults, "inject": _inject, "heal": _heal, "outcome": _outcome}
    commands["audience"] = _audience
    try:
        answer = commands[arguments.command](arguments)
    except SoundstageError as error:
        print(f"soundstage: {error}", file=sys.stderr)
        return error.exit_status
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
