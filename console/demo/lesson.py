"""Has Prefect train the models, asking from a process of its own: its client takes seconds and memory to import."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from console.demo.stage import PROJECT, environment
from tonewatch.errors import PartFailed
from tonewatch.settings import Settings


async def train(
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    on_progress: Callable[[str], None],
    further: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train the tenant's models on the samples from `start` to `end`; `settings` are the running stack's.

    further: parameters of the flow, and `patience`, in seconds. Returns what `flows.learn` returned. Raises PartFailed:
    the training did not complete; says why.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flows.learn", settings.tenant),
        *(time.isoformat() if time is not None else "-" for time in (start, end)),
        json.dumps(dict(further or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
        env=_environment(settings),
        start_new_session=True,
    )
    errors = asyncio.create_task(_all(process.stderr))
    try:
        result = await _follow(process.stdout, on_progress)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        said = await errors
    if result is None:
        raise PartFailed(f"the training did not complete: {said or 'it ended without a word'}")
    return result


def _environment(settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
    return kept | {
        "PREFECT_API_URL": settings.prefect_api_url or "",
        "PREFECT_HOME": str(settings.state_dir / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "true",
    }


async def _follow(out: asyncio.StreamReader | None, on_progress: Callable[[str], None]) -> dict[str, Any] | None:
    """Relay the states; gives the result. Raises PartFailed when there is an error instead."""
    if out is None:
        return None
    async for line in out:
        told = json.loads(line)
        if "error" in told:
            raise PartFailed(told["error"])
        if "result" in told:
            return dict(told["result"])
        on_progress(told["state"])
    return None


async def _all(pipe: asyncio.StreamReader | None) -> str:
    text = await pipe.read() if pipe is not None else b""
    return text.decode(errors="replace").strip().rpartition("\n")[2]
