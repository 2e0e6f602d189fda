"""Benchmarks and campaigns run for minutes to hours, so no test runs them: that each can begin is seen here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "campaign", "guardrails")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_of_a_slow_suite_finds_what_it_imports(folder: str) -> None:
    """In a process of its own: some set threads or backends before anything else is imported."""
    modules = [f"tests.{folder}.{file.stem}" for file in sorted((ROOT / "tests" / folder).glob("[!_]*.py"))]
    modules += [f"tests.{folder}.{file.stem}" for file in sorted((ROOT / "tests" / folder).glob("_[!_]*.py"))]
    assert modules
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    told = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr[-2000:]
