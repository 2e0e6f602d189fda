"""The documents are true: settings as they are, commands that exist, files that are there.

`UPDATE_DOCS=1 pytest tests/test_docs.py` writes docs/settings.md anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from console.cli import app
from tonewatch.settings import (
    BARE_NAMES,
    PREFIX,
    CoolDowns,
    Escalation,
    Freeze,
    Grant,
    Guardrails,
    HlsSource,
    IcecastSource,
    NamingRule,
    PageBudget,
    Profile,
    PrometheusSource,
    Search,
    Settings,
    Sources,
    profile_names,
)

HOUSE = Path(__file__).resolve().parent.parent
SETTINGS_PAGE = HOUSE / "docs" / "settings.md"
PAGES = sorted([*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")])
TONEWATCH = Path(sys.executable).parent / "tonewatch"

SETTINGS_HEAD = f"""\
# Settings

This page is made from `tonewatch/settings.py` (`make snapshot`); a test keeps it true.

Sources, the first wins: an environment variable, `{PREFIX}` and the name in capitals; then the TOML file named by
`TONEWATCH_SETTINGS_FILE`, with the names as below; then the default. A name that is not listed is an error.
These may be written without the prefix too: {", ".join(f"`{name}`" for name in BARE_NAMES)}.
Empty means unset where unset is possible. Lists are separated by commas.
Switches understand true, false, on, off, yes, no, 1, 0.
"""

PROFILE_HEAD = f"""\
## Profiles

How a tenant is watched is a file in `deployments/tenants/`, chosen by the setting `profile`. There are:
{", ".join(f"`{name}`" for name in profile_names())}. A key that is not listed is an error.
"""

MODELS = [
    Settings,
    Profile,
    PageBudget,
    Search,
    Escalation,
    Guardrails,
    CoolDowns,
    Freeze,
    Grant,
    NamingRule,
    Sources,
    PrometheusSource,
    IcecastSource,
    HlsSource,
]

#: Defaults that follow from the machine, in words.
COMPUTED = {
    "state_dir": "`/var/lib/tonewatch` for root, else `$XDG_STATE_HOME/tonewatch` or `~/.local/state/tonewatch`"
}


def _default(name: str, field: FieldInfo) -> str:
    if name in COMPUTED:
        return COMPUTED[name]
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    if value is None or value == ():
        return "unset" if value is None else "empty"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ())) or not field.repr


def _table(model: type[BaseModel], head: str) -> str:
    rows = [f"| {head} | default | what it does |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        what = f"{(field.description or '').rstrip('.')}.{' Secret.' if _is_secret(field) else ''}"
        rows.append(f"| `{name}` | {_default(name, field)} | {what} |")
    return "\n".join(rows) + "\n"


def settings_page() -> str:
    """docs/settings.md as it must be."""
    return "\n".join(
        [
            SETTINGS_HEAD,
            _table(Settings, "setting"),
            PROFILE_HEAD,
            _table(Profile, "key"),
            "### `budget`\n",
            _table(PageBudget, "key"),
            "### `search`\n",
            _table(Search, "key"),
            "### `escalation`\n",
            _table(Escalation, "key"),
            "### `guardrails`\n",
            _table(Guardrails, "key"),
            "### `guardrails.cool_down_seconds`\n",
            _table(CoolDowns, "key"),
            "### Each of `guardrails.freezes`\n",
            _table(Freeze, "key"),
            "### Each of `grants`\n",
            _table(Grant, "key"),
            "### `sources`\n",
            _table(Sources, "key"),
            "### `sources.prometheus`\n",
            _table(PrometheusSource, "key"),
            "### `sources.icecast`\n",
            _table(IcecastSource, "key"),
            "### `sources.hls`\n",
            _table(HlsSource, "key"),
            "### Each of `naming`\n",
            _table(NamingRule, "key"),
        ]
    )


def test_the_settings_page_is_what_the_settings_are() -> None:
    if os.environ.get("UPDATE_DOCS"):
        SETTINGS_PAGE.write_text(settings_page(), encoding="utf-8")
    assert SETTINGS_PAGE.read_text(encoding="utf-8") == settings_page(), "run `make snapshot` and read what changed"


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_says_what_it_does(model: type[BaseModel]) -> None:
    assert not [name for name, field in model.model_fields.items() if not field.description]


def test_a_setting_that_may_hold_a_password_is_a_secret() -> None:
    """It must not come to light where settings are printed or logged."""
    telling = re.compile(r"password|secret|token|webhook|DSN|Redis URL")
    fields = Settings.model_fields.items()
    assert not [name for name, field in fields if telling.search(field.description or "") and not _is_secret(field)]


def _console_lines() -> Iterator[tuple[str, str]]:
    """(page, command) of each command in a block marked `console`; a backslash at the end joins lines."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    yield page.relative_to(HOUSE).as_posix(), re.sub(r"\s+#.*", "", line[2:]).strip()


COMMANDS = sorted({(page, line) for page, line in _console_lines() if re.search(r"\btonewatch [a-z]", line)})
GROUPS = {group.typer_instance.info.name for group in app.registered_groups if group.typer_instance is not None}
TARGETS = sorted({(page, line) for page, line in _console_lines() if re.match(r"make [a-z]", line)})


@cache
def _help(*command: str) -> str:
    said = subprocess.run(
        [TONEWATCH, *command, "--help"],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_a_command_in_the_documents_exists(page: str, line: str) -> None:
    words = re.split(r"\btonewatch ", line, maxsplit=1)[1].split()
    text = _help(*words[: 2 if words[0] in GROUPS else 1])
    for option in (word.split("=")[0] for word in words[1:] if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", text), f"{page}: tonewatch {words[0]} knows no {option}"


@pytest.mark.parametrize(("page", "line"), TARGETS, ids=[line for _, line in TARGETS])
def test_a_make_target_in_the_documents_exists(page: str, line: str) -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), page


def _named_files(page: Path) -> Iterator[str]:
    """Paths in backticks whose first folder is ours, and targets of links that stay in the house."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([A-Za-z_.][\w.-]*/[\w./-]*)`", text):
        if (HOUSE / name.split("/")[0]).is_dir():
            yield name
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link and not link.startswith("mailto:"):
            yield (page.parent / link).resolve().relative_to(HOUSE).as_posix()


#: Folders that come into being by use.
MADE = (".tools/", ".venv/", ".state/", "demo-out/")


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(HOUSE).as_posix() for page in PAGES])
def test_files_named_in_the_documents_are_there(page: Path) -> None:
    assert not [name for name in _named_files(page) if not name.startswith(MADE) and not (HOUSE / name).exists()]


def test_the_change_log_knows_this_version() -> None:
    from tonewatch import __version__  # a test of this line alone

    log = (HOUSE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in log or "## [Unreleased]" in log


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (HOUSE / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
