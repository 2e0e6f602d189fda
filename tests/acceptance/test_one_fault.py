"""The whole, once, as a user runs it: the transcoder is killed, the incident mended, the mail sent."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tempfile
from email import policy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEED = "11"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


def ours(folder: Path) -> list[str]:
    """Command lines of processes that still belong to this run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            if str(folder) in line:
                found.append(line)
    return found


def test_killed_transcoder_is_mended_told_and_proven() -> None:
    # Not tmp_path: root's embedded database belongs to another user, to whom pytest's folders are closed.
    with tempfile.TemporaryDirectory(prefix="tonewatch-acceptance-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        out, result_file = folder / "out", folder / "result.json"
        command = [sys.executable, "-m", "console.cli", "demo", "--seed", SEED, "--out", str(out)]
        command += ["--json", str(result_file), "--state-dir", str(folder / "state")]
        environment = {**os.environ, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        told = done.stdout + done.stderr
        assert result_file.exists(), told[-4000:]
        result = json.loads(result_file.read_text(encoding="utf-8"))
        if result["host_starved_s"] > 0.05 * 300:
            pytest.skip(f"void: this machine was starved for {result['host_starved_s']} s of the run (design.md 3)")
        (fault,) = result["faults"]
        assert fault["cause_named"] == fault["cause_true"] is not None, told[-4000:]
        assert fault["action"].startswith("restart")
        assert fault["detected_s"] < fault["impact_ended_s"] <= 60
        assert (fault["verdict"], fault["controlled"]) == ("worked", True)
        assert result["false_incidents"] == 0
        assert done.returncode == 0, told[-4000:]

        mails = [
            email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in (out / "mailbox").iterdir()
        ]
        assert len(mails) >= 2
        assert len({str(mail["References"]) for mail in mails}) == 1, "one incident is one thread"
        assert len({str(mail["Message-ID"]) for mail in mails}) == len(mails)
        assert any("transcoder" in mail.get_body(("plain",)).get_content() for mail in mails)

        report = next(out.glob("incident-*.md")).read_text(encoding="utf-8")
        assert fault["cause_true"] in report
        assert ours(folder) == []
