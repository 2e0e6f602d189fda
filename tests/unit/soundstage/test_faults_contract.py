from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from soundstage import injection
from soundstage.errors import FaultError, NotRunning
from soundstage.faults import registry
from soundstage.faults.base import Fault, Truth

PROJECT = Path(__file__).resolve().parents[3]
EXAMPLES = PROJECT / "docs" / "examples" / "faults"
COMPLETE = """
from soundstage.faults.base import Fault, Truth
class Mine(Fault):
    name = "mine"
    def inject(self, stage): pass
    def heal(self, stage): pass
    def truth(self): return Truth("component:origin", "component:origin:crash", ("restart",), (), ("component:origin",))
"""


def load(tmp_path: Path, text: str) -> dict[str, type[Fault]]:
    (tmp_path / "mine.py").write_text(text)
    return registry.load(tmp_path)


def test_built_in_and_example_faults_keep_the_contract() -> None:
    faults = registry.load(EXAMPLES)
    assert list(faults) == [*registry.ORDER, "edge-crash", "ingest-hang"]
    assert all(fault.__doc__ for fault in faults.values())


def test_complete_fault_of_ones_own_is_loaded(tmp_path: Path) -> None:
    assert "mine" in load(tmp_path, COMPLETE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:\n", "line 1: not valid Python"),
        ("import no_such_module\n", "raises ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "raises SystemExit"),
        ("x = 1\n", "defines no subclass"),
        (COMPLETE.replace('name = "mine"', "pass"), "needs a `name`"),
        (COMPLETE.replace('"mine"', '"My Fault"'), "needs a `name`"),
        (COMPLETE.replace('"mine"', '"transcoder-crash"'), "taken by another"),
        (COMPLETE.replace('name = "mine"', 'name = "mine"\n    is_fault = "yes"'), "`is_fault`"),
        (COMPLETE.replace("def heal", "def mend"), "lacks heal"),
        (COMPLETE.replace("def inject", "def __init__(self, port): pass\n    def inject"), "without arguments"),
    ],
)
def test_file_that_breaks_the_contract_is_named_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FaultError, match=reason) as raised:
        load(tmp_path, text)
    assert "mine.py" in str(raised.value)


def test_folder_that_is_missing_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="no such folder"):
        registry.load(tmp_path / "nowhere")
    with pytest.raises(FaultError, match=r"no \*\.py file"):
        registry.load(tmp_path)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ("component:origin:crash", "must return"),
        (Truth("origin", "component:origin:crash", (), (), ()), "entity id"),
        (Truth("component:origin", "component:origin:bad-luck", (), (), ()), "kind of"),
        (Truth("component:origin", None, (), (), ()), "kind of"),
        (Truth("component:origin", "component:origin:crash", "restart", (), ()), "tuple of texts"),  # type: ignore[arg-type]
    ],
)
def test_truth_that_cannot_be_compared_is_refused(tmp_path: Path, truth: object, reason: str) -> None:
    fault = load(tmp_path, COMPLETE)["mine"]()
    with pytest.raises(FaultError, match=reason):
        registry.check_truth(fault, truth)


def test_what_is_no_fault_has_no_cause(tmp_path: Path) -> None:
    fault = load(tmp_path, COMPLETE.replace('"mine"\n', '"mine"\n    is_fault = False\n'))["mine"]()
    assert registry.check_truth(fault, Truth("channel:ch1", None, (), (), ())).cause is None
    with pytest.raises(FaultError, match="must be None"):
        registry.check_truth(fault, Truth("channel:ch1", "channel:ch1:crash", (), (), ()))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "soundstage", *words],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
        check=False,
    )


def test_faults_command_lists_json() -> None:
    listed = json.loads(command("faults", "--faults-from", str(EXAMPLES)).stdout)
    told = {fault["name"]: fault["is_fault"] for fault in listed}
    assert list(told) == [*registry.ORDER, "edge-crash", "ingest-hang"]
    harmless = {name for name, is_fault in told.items() if not is_fault}
    assert harmless == {"maintenance-restart", "prime-time-ramp", "quiet-passage"}
    assert all(fault["summary"] for fault in listed)


def test_broken_file_gives_a_message_and_status_2_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(:\n")
    done = command("inject", "mine", "--dir", str(tmp_path), "--faults-from", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("soundstage: ")
    assert "Traceback" not in done.stderr


def test_unknown_fault_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="transcoder-crash"):
        injection.inject("nonsense", tmp_path)


def test_inject_without_a_soundstage_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="python -m soundstage run"):
        injection.inject("transcoder-crash", tmp_path)


def test_wrong_number_on_the_command_line_is_refused() -> None:
    assert command("run", "--dir", "x", "--channels", "0").returncode == 2
    assert command("run", "--dir", "x", "--day", "-1").returncode == 2
