"""Events of access, log-in and play, read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.events import read
from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import Event, EventKind

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = NOW - timedelta(hours=48), NOW + timedelta(minutes=5)
PERSON = "alice@example.com"
ACCESS: dict[str, Any] = {
    "id": "edge-1/4711",
    "kind": "access",
    "time": "2026-03-01T13:00:00+01:00",
    "subject": PERSON,
    "address": "192.0.2.7",
    "method": "GET",
    "path": "/ch1/live.m3u8?token=secret#x",
    "status": 200,
    "bytes": 1812,
    "agent": "player/1.2",
}
AUTH: dict[str, Any] = {"id": "a", "kind": "auth", "time": "2026-03-01T12:00:00Z", "outcome": "failure"}
PLAY: dict[str, Any] = {"id": "p", "kind": "play", "time": "2026-03-01T12:00:00Z", "seconds": 187.5}


def hide(what: str, value: str) -> str:
    return f"<{what} of {len(value)}>"


def reading(document: Any) -> tuple[list[Event], list[tuple[int, str]]]:
    return read(json.dumps(document).encode(), SPAN, 100, hide, lines=False)


def test_each_kind_is_read_without_who_it_was() -> None:
    further = {"track": "t", "channel": "channel:ch1"}
    found, faults = reading([ACCESS, AUTH | {"method": "password"}, PLAY | further])
    assert faults == []
    assert found == [
        Event(
            "edge-1/4711",
            EventKind.ACCESS,
            NOW,
            f"<subject of {len(PERSON)}>",
            "<address of 9>",
            "/ch1/live.m3u8",
            200,
            1812,
            "player/1.2",
            method="GET",
        ),
        Event("a", EventKind.AUTH, NOW, outcome="failure", method="password"),
        Event("p", EventKind.PLAY, NOW, track="t", channel="channel:ch1", seconds=187.5),
    ]


def test_one_object_an_array_and_lines_say_the_same() -> None:
    lines = b"\n\n".join(json.dumps(each).encode() for each in (ACCESS, AUTH)) + b"\r\n"
    assert read(lines, SPAN, 100, hide, lines=True) == reading([ACCESS, AUTH])
    assert reading(AUTH) == reading([AUTH])


@pytest.mark.parametrize(
    "written", ["2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:db8::1%eth0"], ids=["capitals", "long", "zone"]
)
def test_an_address_is_one_however_it_is_written(written: str) -> None:
    def plain(_: str, value: str) -> str:
        return value

    found, _ = read(json.dumps(AUTH | {"address": written}).encode(), SPAN, 9, plain, lines=False)
    assert found[0].address == "2001:db8::1"
    mapped = json.dumps(AUTH | {"address": "::ffff:192.0.2.7"}).encode()
    assert read(mapped, SPAN, 9, plain, lines=False)[0][0].address == "192.0.2.7"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (AUTH | {"kind": PERSON}, "kind must be access, auth, play"),
        (AUTH | {"kind": ["auth"]}, "kind must be"),
        (AUTH | {PERSON: 1}, "a key is no key of an event of kind auth"),
        (AUTH | {"outcome": PERSON}, "outcome: Input should be 'success' or 'failure'"),
        (AUTH | {"address": PERSON}, "must be an IP address"),
        (AUTH | {"subject": {"name": PERSON}}, "subject: Input should be a valid string"),
        (AUTH | {"subject": f"{PERSON}\0"}, "zero character"),
        (AUTH | {"subject": PERSON * 99}, "subject: "),
        (AUTH | {"id": PERSON}, "id: "),
        (AUTH | {"id": ""}, "id: "),
        (AUTH | {"time": "2026-03-01T12:05:01Z"}, "5 minutes ahead or 48 hours behind"),
        (AUTH | {"time": "1970-01-01T00:00:00Z"}, "48 hours behind"),
        (AUTH | {"time": "2100-01-01T00:00:00Z"}, "5 minutes ahead"),
        (AUTH | {"time": "9999-12-31T23:59:59-14:00"}, "5 minutes ahead"),
        (AUTH | {"time": 1_790_000_000}, "as text"),
        (AUTH | {"time": "2026-03-01"}, "time zone"),
        ({name: value for name, value in AUTH.items() if name != "time"}, "time is missing"),
        (ACCESS | {"status": 99}, "status: "),
        (ACCESS | {"status": "200"}, "status: "),
        (ACCESS | {"status": 10**30}, "status: "),
        (ACCESS | {"bytes": -1}, "bytes: "),
        (ACCESS | {"bytes": 2**53 + 1}, "bytes: "),
        (ACCESS | {"path": "?token=secret"}, "path: "),
        (ACCESS | {"path": "/\0"}, "zero character"),
        (PLAY | {"seconds": -0.5}, "seconds: "),
        (PLAY | {"seconds": 1e300}, "seconds: "),
        (PLAY | {"channel": "ch1"}, "must be the id of a channel"),
        (PERSON, "an event is a JSON object"),
        ([AUTH], "an event is a JSON object"),
    ],
)
def test_an_event_with_a_fault_is_named_without_its_values_and_the_others_are_kept(event: Any, told: str) -> None:
    found, ((number, reason),) = reading([PLAY, event])
    assert (len(found), number) == (1, 2)
    assert told in reason
    assert PERSON not in reason
    assert "secret" not in reason


def test_numbers_that_are_none_are_named() -> None:
    infinite = json.dumps(PLAY).replace("187.5", "1e999").encode()
    (fault,) = read(infinite, SPAN, 9, hide, lines=False)[1]
    assert "finite" in fault[1]
    with pytest.raises(PayloadError, match="no JSON"):
        read(json.dumps(PLAY).replace("187.5", "NaN").encode(), SPAN, 9, hide, lines=False)


@pytest.mark.parametrize(
    "line", [b"{", b"[" * 50_000, b'{"id": "\xff"}', b'{"id": "\\ud800"}', b"9" * 5000, b"\x00", b"NaN"]
)
def test_a_line_that_is_no_json_is_named_and_the_others_are_kept(line: bytes) -> None:
    body = json.dumps(AUTH).encode() + b"\n" + line
    found, ((number, reason),) = read(body, SPAN, 100, hide, lines=True)
    assert (len(found), number) == (1, 2)
    assert "the line is no JSON" in reason
    with pytest.raises(PayloadError, match="the body is no JSON"):
        read(line, SPAN, 100, hide, lines=False)


@pytest.mark.parametrize(("body", "lines"), [(b"", True), (b"\n \n", True), (b"[]", False), (b"", False)])
def test_a_body_without_an_event_is_refused(body: bytes, lines: bool) -> None:
    with pytest.raises(PayloadError):
        read(body, SPAN, 100, hide, lines=lines)


def test_too_many_events_are_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        read(b"\n".join([b"{}"] * 11), SPAN, 10, hide, lines=True)
