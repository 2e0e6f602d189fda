from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from soundstage import changes
from soundstage.errors import SoundstageError, Unreachable
from soundstage.faults.base import Stage
from soundstage.supervision import Supervisor

STARTED = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Door:
    """What takes changes: keeps them, and answers with the statuses that it was given, then 200."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.statuses: list[int] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = door.statuses.pop(0) if door.statuses else 200
                if status == 200:
                    door.taken.append((self.headers.get("authorization", ""), body))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *words: object) -> None:
                """Nothing is printed."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def stage(folder: Path, announced: dict[str, Any]) -> Stage:
    client = httpx.Client(trust_env=False)
    return Stage(folder, {}, 1, random.Random(1), Supervisor("http://127.0.0.1:1/RPC2"), client, announced)


def test_change_is_sent_with_the_key_of_the_moment_and_written_down(tmp_path: Path, door: Door) -> None:
    key = tmp_path / "key"
    url = f"http://127.0.0.1:{door.port}/v1/changes"
    handle = stage(tmp_path, {"changes_url": url, "changes_key_file": str(key)})
    with pytest.raises(SoundstageError, match="no key"):
        handle.announce("release", "component:packager", "early")
    key.write_text("secret\n")
    identifier = handle.announce("maintenance", "component:origin", "restart", STARTED, STARTED)
    ((authorization, sent),) = door.taken
    assert authorization == "Bearer secret"
    assert sent == {
        "id": identifier,
        "kind": "maintenance",
        "entity": "component:origin",
        "started": STARTED.isoformat(),
        "ended": STARTED.isoformat(),
        "author": "soundstage",
        "summary": "restart",
    }
    assert json.loads((tmp_path / "changes.jsonl").read_text()) == {**sent, "sent": True}


def test_change_is_tried_again_under_the_same_id(tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    door.statuses = [503, 429]
    handle = stage(tmp_path, {"changes_url": f"http://127.0.0.1:{door.port}/v1/changes"})
    identifier = handle.announce("flag", "component:origin", "on")
    assert [change["id"] for _, change in door.taken] == [identifier]


def test_change_that_is_refused_or_not_taken_is_an_error(
    tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    handle = stage(tmp_path, {"changes_url": f"http://127.0.0.1:{door.port}/v1/changes"})
    door.statuses = [403]
    with pytest.raises(SoundstageError, match="refused a change with 403"):
        handle.announce("flag", "component:origin", "on")
    door.statuses = [503] * changes.TRIES
    with pytest.raises(Unreachable, match="503"):
        handle.announce("flag", "component:origin", "on")


def test_change_without_an_address_is_only_written_down(tmp_path: Path) -> None:
    identifier = stage(tmp_path, {}).announce("release", "component:packager", "new")
    kept = json.loads((tmp_path / "changes.jsonl").read_text())
    assert kept["id"] == identifier
    assert kept["sent"] is False
    assert kept["ended"] is None


def test_kind_of_change_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SoundstageError, match="must be one of"):
        stage(tmp_path, {}).announce("party", "component:origin", "x")
