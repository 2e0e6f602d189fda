from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sources.logs import MAX_LINE, LogBatch, LogLine, Position, tail
from tonewatch.errors import SourceError


def line(number: int, **more: object) -> bytes:
    return json.dumps({"time": f"2026-01-01T00:00:{number % 60:02d}Z", "event": f"e{number}", **more}).encode() + b"\n"


async def drained(position: Position) -> tuple[list[LogLine], int, Position]:
    lines: list[LogLine] = []
    bad = 0
    while True:
        batch: LogBatch = await tail(position, component="packager")
        lines += batch.lines
        bad += batch.bad
        position = batch.position
        if not batch.more:
            return lines, bad, position


def events(lines: list[LogLine]) -> list[str]:
    return [one.event for one in lines]


async def test_a_line_is_read_with_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1, level="ERROR", component="transcoder-ch1", code=9))
    lines, bad, _ = await drained(Position(str(path)))
    assert lines == [LogLine(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), "error", "transcoder-ch1", "e1", {"code": 9})]
    assert bad == 0


async def test_a_component_stands_in_where_a_line_names_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    assert (await drained(Position(str(path))))[0][0].component == "packager"


async def test_a_file_that_does_not_exist_yet_brings_nothing_and_then_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines, _, position = await drained(Position(str(path)))
    assert lines == []
    path.write_bytes(line(1))
    assert events((await drained(position))[0]) == ["e1"]


async def test_a_tail_is_carried_on_from_its_kept_position(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    _, _, position = await drained(Position(str(path)))
    with path.open("ab") as file:
        file.write(line(2))
    kept = Position.from_json(json.loads(json.dumps(position.as_json())), path)
    assert events((await drained(kept))[0]) == ["e2"]


@pytest.mark.parametrize(
    "kept", [{}, {"inode": "x"}, {"path": "other", "inode": 1, "offset": 9, "head": "", "skipping": 0}]
)
async def test_a_kept_position_that_is_unreadable_starts_at_the_beginning(
    tmp_path: Path, kept: dict[str, object]
) -> None:
    assert Position.from_json(kept, tmp_path / "a") == Position(str(tmp_path / "a"))


async def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = line(2)
    path.write_bytes(line(1) + whole[:9])
    lines, bad, position = await drained(Position(str(path)))
    assert (events(lines), bad) == (["e1"], 0)
    with path.open("ab") as file:
        file.write(whole[9:])
    assert events((await drained(position))[0]) == ["e2"]


async def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2))
    _, _, position = await drained(Position(str(path)))
    path.write_bytes(line(3))
    assert events((await drained(position))[0]) == ["e3"]


async def test_a_truncated_file_that_has_grown_past_the_position_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    _, _, position = await drained(Position(str(path)))
    path.write_bytes(line(3) + line(4))
    assert events((await drained(position))[0]) == ["e3", "e4"]


async def test_a_rotated_file_is_read_to_its_end_before_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    _, _, position = await drained(Position(str(path)))
    with path.open("ab") as file:
        file.write(line(2))
    path.rename(tmp_path / "a.jsonl.1")
    path.write_bytes(line(3))
    lines, _, position = await drained(position)
    assert events(lines) == ["e2", "e3"]
    assert (await drained(position))[0] == []


async def test_a_rotated_file_that_was_removed_leaves_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    _, _, position = await drained(Position(str(path)))
    (tmp_path / "new").write_bytes(line(3))
    (tmp_path / "new").rename(path)
    assert events((await drained(position))[0]) == ["e3"]


@pytest.mark.parametrize(
    "bad_line",
    [
        b"\xff\xfe not utf-8\n",
        b"not json\n",
        b"[1, 2]\n",
        b"42\n",
        b'{"event": "no time"}\n',
        b'{"time": "2026-01-01T00:00:00Z"}\n',
        b'{"time": "yesterday", "event": "x"}\n',
        b'{"time": 1e400, "event": "x"}\n',
        b'{"time": true, "event": "x"}\n',
        b'{"time": 1, "event": 5}\n',
        b"[" * 50_000 + b"\n",
        b"x" * (MAX_LINE + 10) + b"\n",
        b"x" * (3 * 1024 * 1024) + b"\n",
    ],
)
async def test_a_bad_line_is_counted_and_the_next_is_read(tmp_path: Path, bad_line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + bad_line + line(2))
    lines, bad, _ = await drained(Position(str(path)))
    assert (events(lines), bad) == (["e1", "e2"], 1)


async def test_a_line_without_an_end_is_counted_once_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (MAX_LINE + 10))
    _, bad, position = await drained(Position(str(path)))
    assert bad == 1
    with path.open("ab") as file:
        file.write(b"y" * 100_000)
    _, bad, position = await drained(position)
    assert bad == 0
    with path.open("ab") as file:
        file.write(b"z\n" + line(2))
    lines, bad, _ = await drained(position)
    assert (events(lines), bad) == (["e2"], 0)


async def test_a_file_that_cannot_be_read_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        await tail(Position(str(tmp_path)))


@given(st.lists(st.binary(max_size=60).filter(lambda raw: b"\n" not in raw), max_size=8), st.integers(1, 60))
async def test_any_bytes_in_any_pieces_lose_no_good_line(
    tmp_path_factory: pytest.TempPathFactory, raw: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("logs") / "a.jsonl"
    content = b"".join(part + b"\n" + line(number) for number, part in enumerate(raw))
    found: list[str] = []
    position = Position(str(path))
    for start in range(0, len(content), cut):
        with path.open("ab") as file:
            file.write(content[start : start + cut])
        lines, _, position = await drained(position)
        found += events(lines)
    assert found == [f"e{number}" for number in range(len(raw))]
