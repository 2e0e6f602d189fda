"""The guard: a small process that ends what a killed supervisor leaves behind.

It reads from its standard input `pid started signal` of each process that the supervisor starts. When that input ends
without the word `bye`, the supervisor is gone: the guard ends what it was told of, and whatever carries the run's mark.
"""

from __future__ import annotations

import signal
import sys

from console.stack import processes

MARK = "STACK_RUN"  # not TONEWATCH_...: that is for settings, where an unknown name is an error
GRACE_SECONDS = 3.0


def main(run: str) -> None:
    """Watch until the supervisor says `bye` or is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it must outlive the supervisor, and ends by itself right after it
    told: dict[processes.Identity, signal.Signals] = {}
    for line in sys.stdin:
        if line.strip() == "bye":
            return
        pid, started, sent = (int(word) for word in line.split())
        told[processes.Identity(pid, started)] = signal.Signals(sent)
    end_all(run, told)


def end_all(run: str, told: dict[processes.Identity, signal.Signals]) -> None:
    """End the processes `told`, the last started first, and then everything that carries the mark of `run`."""
    processes.end(dict(reversed(told.items())), GRACE_SECONDS)
    marked = dict.fromkeys(processes.with_variable(MARK, run), signal.SIGTERM)
    processes.end(marked, GRACE_SECONDS, group=False)


if __name__ == "__main__":
    main(sys.argv[1])
