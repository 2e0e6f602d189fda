"""The front door, called as people and scripts call it: as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
COMMANDS = ("up", "down", "status", "demo", "listen", "incidents", "report", "remediation", "settings")


def tonewatch(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line without the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *words],
        cwd=PROJECT,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_answers_in_under_a_second() -> None:
    tonewatch("--help")  # the first may have to read files from a cold disk
    began = time.monotonic()
    told = tonewatch("--help")
    assert time.monotonic() - began < 1.0
    assert told.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in told.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help(command: str) -> None:
    told = tonewatch(command, "--help")
    assert told.returncode == 0
    assert told.stdout.startswith(f"Usage: tonewatch {command}")


def test_front_door_imports_typer_and_the_standard_library_alone() -> None:
    script = "import sys, console.cli; print([m for m in sys.modules if m.partition('.')[0] in sys.argv[1:]])"
    heavy = ("prefect", "mlflow", "sklearn", "sqlalchemy", "httpx", "pydantic", "rich", "numpy", "tonewatch", "redis")
    told = subprocess.run(
        [sys.executable, "-c", script, *heavy], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_unknown_setting_is_one_line_and_exit_status_2() -> None:
    told = tonewatch("settings", TONEWATCH_SEAT_DIR="/x")
    assert told.returncode == 2
    assert told.stderr.startswith("tonewatch: unknown setting TONEWATCH_SEAT_DIR. Did you mean state_dir?")
    assert told.stderr.count("\n") == 1


def test_settings_are_listed_for_scripts_with_secrets_masked() -> None:
    told = tonewatch(
        "settings",
        "--json",
        TONEWATCH_DATABASE_URL="postgresql://app:s3cret@db/tonewatch",
        TONEWATCH_SUPERVISOR_URL="http://user:s3cret@127.0.0.1:9/RPC2",
    )
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    assert "s3cret" not in told.stdout
    assert rows["TONEWATCH_DATABASE_URL"]["value"] == "********"
    assert rows["TONEWATCH_SUPERVISOR_URL"]["value"] == "********"
    assert rows["TONEWATCH_GATEWAY_PORT"]["value"] is None
    assert all(row["description"] for row in rows.values())


def test_settings_are_listed_for_people() -> None:
    told = tonewatch("settings", AUTO_REMEDIATION="off")
    assert "TONEWATCH_AUTO_REMEDIATION = False\n    Off: remedies are proposed" in told.stdout


def test_status_without_a_stack_says_so_and_exits_1(tmp_path: Path) -> None:
    told = tonewatch("status", "--state-dir", str(tmp_path))
    assert told.returncode == 1
    assert told.stdout.startswith("not up")
    assert tonewatch("status", "--json", "--state-dir", str(tmp_path)).stdout.startswith("{")


def test_down_without_a_stack_is_harmless(tmp_path: Path) -> None:
    told = tonewatch("down", "--state-dir", str(tmp_path))
    assert told.returncode == 0
    assert told.stdout == "nothing was up\n"


def test_demo_of_an_unknown_fault_names_the_known_ones(tmp_path: Path) -> None:
    told = tonewatch("demo", "--faults", "earthquake", "--out", str(tmp_path / "out"))
    assert told.returncode == 2
    assert "no fault 'earthquake'; known are" in told.stderr
    assert "Traceback" not in told.stderr


def test_demo_that_cannot_write_its_output_says_where_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = tonewatch("demo", "--out", str(tmp_path / "file"))
    assert told.returncode == 1
    assert "choose another with --out" in told.stderr


def test_wrong_option_is_a_usage_error() -> None:
    told = tonewatch("demo", "--channels", "0")
    assert told.returncode == 2
    assert "--channels" in told.stderr


def test_remediation_is_switched_without_a_stack_and_says_how_it_stands(tmp_path: Path) -> None:
    here = ("--state-dir", str(tmp_path), "--json")
    missing = tonewatch("remediation", "status", *here)
    assert (missing.returncode, json.loads(missing.stdout)["switch"]) == (1, "unreadable")
    for word, status in (("on", 0), ("off", 1)):
        told = tonewatch("remediation", word, "--reason", "a test", *here)
        assert told.returncode == 0
        assert json.loads(told.stdout)["audited"] is False
        assert (tmp_path / "switches" / "remediation").read_text() == f"{word}\n"
        assert tonewatch("remediation", "status", *here).returncode == status
    told = tonewatch("remediation", "on", "--state-dir", str(tmp_path), AUTO_REMEDIATION="off")
    assert "no remedy acts by itself" in told.stdout
    assert tonewatch("remediation", "status", *here, AUTO_REMEDIATION="off").returncode == 1
    assert tonewatch("remediation", "maybe", *here).returncode == 2
