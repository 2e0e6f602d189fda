from __future__ import annotations

import json
from pathlib import Path

import pytest

from tonewatch import secrets
from tonewatch.errors import StateFolderError


def test_secrets_are_made_once_and_stay(tmp_path: Path) -> None:
    first = secrets.load_or_generate(tmp_path)
    assert secrets.load_or_generate(tmp_path) == first == secrets.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    secrets.load_or_generate(tmp_path)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_no_two_secrets_are_equal_and_the_root_key_has_32_bytes(tmp_path: Path) -> None:
    made = secrets.load_or_generate(tmp_path)
    words = [made.superuser, made.app, made.dispatcher, made.prefect, made.mlflow, made.redis, made.root_key_hex]
    assert len(set(words)) == 7
    assert len(made.root_key) == 32


def test_secrets_do_not_show_themselves(tmp_path: Path) -> None:
    made = secrets.load_or_generate(tmp_path)
    assert made.app not in f"{made!r} {made} {[made]}"


def test_a_folder_without_secrets_says_how_they_come_about(tmp_path: Path) -> None:
    with pytest.raises(StateFolderError, match="tonewatch up"):
        secrets.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"app": "x"}', "null"])
def test_damaged_secrets_are_refused_and_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(StateFolderError, match="damaged"):
        secrets.load_or_generate(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == content


def test_what_is_wrong_with_the_file_is_told_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"app": "hush"}) + "}")
    with pytest.raises(StateFolderError) as caught:
        secrets.load(tmp_path)
    assert "hush" not in str(caught.value)
