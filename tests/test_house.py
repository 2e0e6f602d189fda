"""The house keeps its shape: directions, one foreign library per room, names that tell where a thing belongs."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS: list[str] = PYPROJECT["tool"]["importlinter"]["root_packages"]
FILES = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))
SCRIPTS = Path(sys.executable).parent
#: Names that say nothing about a thing's place in the alert's story.
EMPTY_WORDS = {"util", "utils", "common", "core", "manager", "managers", "helper", "helpers", "misc"}


def place(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def lines_with(pattern: str, folders: list[str]) -> Iterator[tuple[str, str]]:
    """(file:line, line) of each line of Python that holds `pattern`."""
    for folder in folders:
        for path in sorted((HOUSE / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(pattern, line):
                    yield f"{place(path)}:{number}", line


# --- directions ------------------------------------------------------------------------------------------------------

#: contract -> (file, text) of a wrong import that it must catch
PLANTED = {
    "direction": [
        ("warehouse/planted.py", "import tasks"),
        ("tonewatch/planted.py", "import warehouse"),
        ("tasks/planted.py", "import flows"),
        ("flows/planted.py", "import console"),
        ("ml/planted.py", "import policy"),
        ("policy/planted.py", "import gateway"),
        ("gateway/planted.py", "import feature_store"),
        ("feature_store/planted.py", "def late():\n    import ml"),
    ],
    "soundstage-blind": [("soundstage/planted.py", "import tonewatch.records")],
    "soundstage-unseen": [("ml/planted.py", "import soundstage")],
    "policy-pure": [("policy/planted.py", "import warehouse")],
    "no-circles": [
        ("tasks/planted.py", "import tasks.planted_too\n"),
        ("policy/planted.py", "def late():\n    import policy.planted_too\n"),
    ],
    "prefect": [("console/planted.py", "import prefect.client"), ("ml/planted.py", "from prefect import flow")],
    "mlflow": [("ml/planted.py", "import mlflow.sklearn"), ("tasks/planted.py", "import mlflow")],
    "database": [
        ("tasks/planted.py", "import sqlalchemy"),
        ("console/planted.py", "import psycopg"),
        ("gateway/planted.py", "import redis.asyncio"),
    ],
    "httpx": [("tasks/planted.py", "import httpx"), ("console/planted.py", "import requests")],
    "av": [("tasks/planted.py", "import av")],
    "jwt": [("gateway/planted.py", "import jwt"), ("console/planted.py", "import jwt")],
    "learning": [("tasks/planted.py", "import sklearn.ensemble"), ("feature_store/planted.py", "import skops")],
    "tensorflow": [("ml/planted.py", "import tensorflow")],
    "great-expectations": [("feature_store/planted.py", "import great_expectations")],
    "evidently": [("ml/planted.py", "def late():\n    import evidently")],
}


def lint_imports(folder: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    only = ["--contract", contract] if contract else []
    command = [str(SCRIPTS / "lint-imports"), "--no-cache", *only]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms and their contracts, to plant wrong imports in."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(HOUSE / "pyproject.toml", folder)
    for room in ROOMS:
        shutil.copytree(HOUSE / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_no_room_looks_the_wrong_way() -> None:
    said = lint_imports(HOUSE)
    assert said.returncode == 0, said.stdout


def test_every_contract_is_tried() -> None:
    assert set(PLANTED) == {contract["id"] for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}


@pytest.mark.parametrize(
    ("contract", "file", "text"),
    [(contract, file, text) for contract, plants in PLANTED.items() for file, text in plants],
    ids=[f"{contract}-{file.split('/')[0]}" for contract, plants in PLANTED.items() for file, _ in plants],
)
def test_a_planted_wrong_import_is_caught(copy: Path, contract: str, file: str, text: str) -> None:
    room = copy / Path(file).parent
    planted = {copy / file: text, room / "planted_too.py": f"import {room.name}.planted\n"}
    try:
        for path, content in planted.items():
            path.write_text(content + "\n", encoding="utf-8")
        said = lint_imports(copy, contract)
    finally:
        for path in planted:
            path.unlink()
    assert said.returncode == 1
    assert "planted" in said.stdout


@pytest.mark.parametrize(
    ("contract", "file", "text"),
    [
        ("mlflow", "ml/registry.py", "import mlflow"),
        ("database", "warehouse/planted.py", "import sqlalchemy"),
        ("tensorflow", "ml/detectors/planted.py", "import tensorflow"),
        ("great-expectations", "feature_store/expectations.py", "import great_expectations"),
        ("evidently", "ml/drift_report.py", "import evidently"),
    ],
)
def test_a_library_may_live_in_its_own_room(tmp_path: Path, copy: Path, contract: str, file: str, text: str) -> None:
    shutil.copytree(copy, tmp_path / "house")
    with (tmp_path / "house" / file).open("a", encoding="utf-8") as opened:
        opened.write(f"\n{text}\n")
    said = lint_imports(tmp_path / "house", contract)
    assert said.returncode == 0, said.stdout


def test_every_list_of_rooms_names_the_same_rooms() -> None:
    typed = {path for path in PYPROJECT["tool"]["mypy"]["files"] if not path.startswith("tests/")}
    assert typed == set(ROOMS)
    assert set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == {*ROOMS, "deployments"}
    on_disk = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert on_disk == set(ROOMS)


# --- names and places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_lies_at_most_two_folders_deep_under_a_telling_name(path: Path) -> None:
    relative = path.relative_to(HOUSE)
    assert len(relative.parents) - 1 <= 2 or "migrations" in relative.parts
    words = {word for part in relative.with_suffix("").parts for word in part.split("_")}
    assert not words & EMPTY_WORDS


def test_the_unit_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (HOUSE / "tests" / "unit").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= {*ROOMS, "deployments"}


def test_errors_are_raised_from_one_tree() -> None:
    """The soundstage is a world apart and has its own."""
    strays = []
    for path in FILES:
        if place(path).startswith(("soundstage/", "tonewatch/errors.py")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if any(base.endswith(("Error", "Exception")) for base in bases):
                strays.append(f"{place(path)}:{node.lineno} {node.name}")  # type: ignore[attr-defined]  # a ClassDef, above
    assert not strays


def test_time_comes_from_the_clock() -> None:
    """History can be replayed only if nobody asks the machine. The soundstage is a world apart."""
    folders = [room for room in ROOMS if room != "soundstage"]
    asked = lines_with(r"datetime\.(now|utcnow|today)\(|\btime\.time(_ns)?\(|\bdate\.today\(", folders)
    assert not [where for where, _ in asked if not where.startswith("tonewatch/clock.py")]


def test_our_own_settings_are_read_in_one_place() -> None:
    asked = lines_with(r"(os\.environ|os\.getenv).*TONEWATCH_", ROOMS)
    assert not [where for where, _ in asked if not where.startswith("tonewatch/settings.py")]


def test_a_rule_is_switched_off_by_name_and_with_a_reason() -> None:
    """`# noqa: S101 - why`; mypy's own codes say what is wrong with a library's types."""
    noqa = lines_with(r"#\s*noqa\b", [*ROOMS, "tests"])
    bare = [where for where, line in noqa if not re.search(r"# noqa: [A-Z0-9, ]+ *(#|-|:|\() *\S", line)]
    ignored = lines_with(r"#\s*type:\s*ignore(?!\[[a-z-, ]+\])", [*ROOMS, "tests"])
    assert not [
        where for where in [*bare, *(where for where, _ in ignored)] if not where.startswith("tests/test_house")
    ]


def test_no_test_replaces_our_own_parts_by_mocks() -> None:
    assert not [
        where
        for where, _ in lines_with(r"^\s*(from|import) (unittest\.)?mock\b|^\s*from unittest import mock", ["tests"])
    ]


@pytest.mark.parametrize("path", [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")], ids=place)
def test_an_example_in_a_docstring_is_true(path: Path) -> None:
    module = importlib.import_module(place(path).removesuffix(".py").replace("/", "."))
    assert doctest.testmod(module).failed == 0


# --- the front step --------------------------------------------------------------------------------------------------


def test_the_front_door_opens_without_the_heavy_libraries() -> None:
    heavy = {"prefect", "mlflow", "sklearn", "av", "matplotlib", "pandas", "numpy", "sqlalchemy", "fastapi", "httpx"}
    code = f"import sys, console.cli; print(*sorted({heavy!r} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == ""


@pytest.mark.parametrize("module", ["console.watch", "gateway.api.app", "tasks.listen", "console.stack.wiring"])
def test_what_a_light_install_runs_needs_none_of_what_it_leaves_out(module: str) -> None:
    left_out = {"mlflow", "sklearn", "skops", "scipy", "pandas", "tensorflow", "xgboost"}
    code = f"import sys, {module}; print(*sorted({left_out!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []


def make(*target: str, folder: Path = HOUSE) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    said = subprocess.run(
        ["make", *target], cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return said.stdout


def test_make_alone_lists_every_target() -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    listed = re.findall(r"^  ([a-z]+) ", make(), re.MULTILINE)
    assert set(listed) == set(phony[1].split())


def test_clean_removes_caches_and_keeps_the_state(tmp_path: Path) -> None:
    shutil.copy(HOUSE / "Makefile", tmp_path)
    gone = [".mypy_cache/x", "demo-out/x", "ml/__pycache__/x", ".pytest_cache/x"]
    kept = [".state/x", ".venv/x", ".venv/lib/__pycache__/x", ".tools/x", "ml/x.py"]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    make("clean", folder=tmp_path)
    assert [name for name in gone + kept if (tmp_path / name).exists()] == kept
