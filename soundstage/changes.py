"""Changes are announced to the monitoring, as a release tool or an operator's calendar would: POST /v1/changes."""

from __future__ import annotations

import json
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from soundstage.errors import SoundstageError, Unreachable

KINDS = ("release", "configuration", "maintenance", "flag")
TRIES = 5
_PAUSE_S = 1.0
FILE = "changes.jsonl"


def make(
    kind: str, entity: str, summary: str, started: datetime, ended: datetime | None, author: str = "soundstage"
) -> dict[str, Any]:
    """A change as it is sent; raises SoundstageError for a kind that nobody knows."""
    if kind not in KINDS:
        raise SoundstageError(f"a change's kind must be one of {', '.join(KINDS)}, not '{kind}'")
    return {
        "id": f"{kind}-{secrets.token_hex(6)}",
        "kind": kind,
        "entity": entity,
        "started": started.isoformat(),
        "ended": ended.isoformat() if ended else None,
        "author": author,
        "summary": summary,
    }


def keep(folder: Path, change: dict[str, Any], *, sent: bool) -> None:
    """Write down what was announced, or would have been."""
    with (folder / FILE).open("a") as file:
        file.write(json.dumps({**change, "sent": sent}) + "\n")


def send(client: httpx.Client, url: str, key_file: Path | None, change: dict[str, Any]) -> None:
    """Announce `change`; tried again while the other side is away, since the same id is the same change.

    Raises Unreachable when it stays away, SoundstageError when it refuses or the key is not there.
    """
    headers = {}
    if key_file is not None:
        try:
            headers["authorization"] = f"Bearer {key_file.read_text().strip()}"
        except OSError as error:
            raise SoundstageError(f"no key for announcing changes at {key_file} ({error.strerror})") from error
    reason = ""
    for left in reversed(range(TRIES)):
        try:
            answer = client.post(url, json=change, headers=headers)
        except httpx.HTTPError as error:
            reason = repr(error)
        else:
            if answer.is_success:
                return
            reason = f"{answer.status_code}: {answer.text[:200]}"
            if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                raise SoundstageError(f"{url} refused a change with {reason}")
        if left:
            time.sleep(_PAUSE_S)  # whether the other side is back can only be asked
    raise Unreachable(f"{url} took no change: {reason}")
