"""What every benchmark tells in the same way: its progress, and its result with the machine and the date."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import _overview


def say(line: str) -> None:
    """Progress, to those who wait."""
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()


def publish(told: dict[str, Any], seconds: float, path: Path | None, page: Callable[[dict[str, Any]], str]) -> None:
    """Print the document `told`, and write it and its page for people to `path`, if there is one."""
    document = told | {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seconds": round(seconds),
    }
    written = json.dumps(document, indent=1) + "\n"
    sys.stdout.write(written)
    if path is not None:
        path.write_text(written, encoding="utf-8")
        path.with_suffix(".md").write_text(page(document), encoding="utf-8")
        _overview.write(path.parent)
