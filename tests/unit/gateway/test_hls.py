"""The probe of one rendition, against a real server whose shelf the tests fill, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway import http
from gateway.sources.hls import HlsProbe, media_playlist_of
from tests.integration.broadcast import Answer, encode, segments, serving, tone
from tonewatch.clock import ManualClock
from tonewatch.errors import SourceError

START = datetime(2026, 1, 1, tzinfo=UTC)
SOUNDS = [data for _, data in segments((("tone", 12.0),), 2.0)]


class Shelf:
    """What the server has: name -> answer. `asked` counts."""

    def __init__(self) -> None:
        self.things: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.hanging: set[str] = set()

    async def answer(self, path: str) -> Answer:
        name = path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if name in self.hanging:
            await asyncio.Event().wait()
        return self.things.get(name, (404, "text/plain", b"no such thing"))

    def publish(self, first: int, count: int, *, extra: str = "", dated: bool = True) -> None:
        """Segments of 2 s; number n begins n * 2 s after START."""
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, first + count):
            stamp = (START + timedelta(seconds=number * 2)).isoformat()
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{stamp}"] if dated else []
            lines += ["#EXTINF:2.0,", f"{number}.aac"]
            self.things.setdefault(f"{number}.aac", (200, "audio/aac", SOUNDS[number % len(SOUNDS)]))
        self.things["index.m3u8"] = (200, "application/vnd.apple.mpegurl", "\n".join([*lines, extra, ""]).encode())


class Stage:
    """The shelf, the clock and the probe of one test."""

    def __init__(self, shelf: Shelf, base: str, probe: HlsProbe, clock: ManualClock) -> None:
        self.shelf, self.base, self.probe, self.clock = shelf, base, probe, clock


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    shelf, clock = Shelf(), ManualClock(START + timedelta(seconds=12.5))
    async with serving(shelf.answer) as base, http.client() as session:
        yield Stage(shelf, base, HlsProbe(f"{base}/index.m3u8", session, clock=clock, timeout_s=0.5), clock)


async def test_the_newest_segment_is_heard_with_its_time_and_latency(stage: Stage) -> None:
    stage.shelf.publish(0, 6)
    reading = await stage.probe.poll()
    (heard,) = reading.heard
    assert (heard.segment.sequence, heard.started) == (5, START + timedelta(seconds=10))
    assert heard.decoded.seconds == pytest.approx(2.0, abs=0.05)
    assert heard.decode_errors == 0
    assert reading.playlist_age_s == pytest.approx(0.5)
    assert reading.latency_s == pytest.approx(6.5)
    assert reading.faults == ()


async def test_each_segment_is_fetched_once(stage: Stage) -> None:
    stage.shelf.publish(0, 6)
    await stage.probe.poll()
    await stage.probe.poll()
    stage.shelf.publish(2, 6)
    reading = await stage.probe.poll()
    assert [heard.segment.sequence for heard in reading.heard] == [6, 7]
    assert [name for name in stage.shelf.asked if name.endswith(".aac")] == ["5.aac", "6.aac", "7.aac"]


async def test_a_playlist_that_stops_is_overdue_then_stale(stage: Stage) -> None:
    stage.shelf.publish(0, 6)
    await stage.probe.poll()
    stage.clock.advance(3.5)
    reading = await stage.probe.poll()
    assert (reading.overdue_s, reading.stale) == (pytest.approx(1.5), False)
    stage.clock.advance(0.5)
    reading = await stage.probe.poll()
    assert (reading.overdue_s, reading.stale) == (pytest.approx(2.0), True)
    assert [fault.kind for fault in reading.faults] == ["stale"]
    stage.shelf.publish(1, 6)
    reading = await stage.probe.poll()
    assert (reading.overdue_s, reading.stale, reading.faults) == (0.0, False, ())


async def test_a_playlist_that_cannot_be_fetched_grows_overdue(stage: Stage) -> None:
    stage.shelf.publish(0, 6)
    await stage.probe.poll()
    stage.shelf.things["index.m3u8"] = (502, "text/html", b"<html>")
    stage.clock.advance(4.0)
    reading = await stage.probe.poll()
    assert not reading.answered
    assert reading.stale
    assert reading.playlist_age_s == pytest.approx(4.5)
    assert [fault.kind for fault in reading.faults] == ["retrieval", "stale"]


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<html>It works!</html>"),
        (200, "x", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"),
        (200, "x", b"#" * 3_000_000),
        (500, "x", b""),
        (302, "x", b""),
    ],
    ids=["html", "master", "huge", "500", "redirect to nowhere"],
)
async def test_what_is_no_playlist_is_a_retrieval_fault(stage: Stage, answer: Answer) -> None:
    stage.shelf.things["index.m3u8"] = answer
    reading = await stage.probe.poll()
    assert [fault.kind for fault in reading.faults] == ["retrieval"]
    assert (reading.playlist, reading.overdue_s) == (None, 0.0)


async def test_a_server_that_is_silent_is_given_up_at_the_time_out(stage: Stage) -> None:
    stage.shelf.hanging.add("index.m3u8")
    async with asyncio.timeout(3):
        reading = await stage.probe.poll()
    assert "in time" in reading.faults[0].message


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        ((404, "text/plain", b""), 1),
        ((200, "text/html", b"<html>502</html>"), 1),
        ((200, "audio/aac", b""), 1),
        ((200, "audio/aac", SOUNDS[5][: len(SOUNDS[5]) // 2]), 1),
    ],
    ids=["missing", "html", "empty", "truncated"],
)
async def test_a_bad_segment_is_a_fault_and_the_next_one_is_heard(stage: Stage, answer: Answer, errors: int) -> None:
    stage.shelf.publish(0, 6)
    stage.shelf.things["5.aac"] = answer
    reading = await stage.probe.poll()
    assert [fault.kind for fault in reading.faults] == ["segment"]
    assert reading.heard[0].missing_s > 0.8
    stage.shelf.publish(1, 6)
    reading = await stage.probe.poll()
    assert reading.heard[0].decode_errors == 0
    assert reading.faults == ()


async def test_a_numbering_that_begins_anew_is_told_and_followed(stage: Stage) -> None:
    stage.shelf.publish(40, 6)
    await stage.probe.poll()
    stage.shelf.publish(0, 3)
    reading = await stage.probe.poll()
    assert "media-sequence" in [fault.kind for fault in reading.faults]
    assert [heard.segment.sequence for heard in reading.heard] == [2]


async def test_an_encrypted_segment_is_said_to_be_unheard(stage: Stage) -> None:
    stage.shelf.publish(0, 1)
    status, kind, text = stage.shelf.things["index.m3u8"]
    locked = text.replace(b"#EXTINF", b'#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF')
    stage.shelf.things["index.m3u8"] = (status, kind, locked)
    reading = await stage.probe.poll()
    assert "encrypted" in reading.faults[0].message


async def test_one_segment_of_three_is_decoded_unless_attentive(stage: Stage) -> None:
    async with http.client() as session:
        probe = HlsProbe(f"{stage.base}/index.m3u8", session, clock=stage.clock, start_segments=6, decode_every=3)
        stage.shelf.publish(0, 6)
        reading = await probe.poll()
        assert [heard.decoded is not None for heard in reading.heard] == [True, False, False] * 2
        assert reading.faults == ()
        probe.attentive = True
        stage.shelf.publish(3, 6)
        assert all(heard.decoded is not None for heard in (await probe.poll()).heard)


async def test_an_ended_playlist_is_read_no_faster_than_it_plays(stage: Stage) -> None:
    stage.shelf.publish(0, 6, extra="#EXT-X-ENDLIST")
    heard = [len((await stage.probe.poll()).heard)]
    for seconds in (1.0, 1.0, 4.0, 10.0):
        stage.clock.advance(seconds)
        reading = await stage.probe.poll()
        heard.append(len(reading.heard))
    assert heard == [1, 0, 1, 2, 2]
    assert stage.probe.finished
    assert (reading.overdue_s, reading.latency_s) == (0.0, None)
    assert stage.shelf.asked.count("index.m3u8") == 1


async def test_segments_without_a_date_time_get_one_counted_from_now(stage: Stage) -> None:
    stage.shelf.publish(0, 6, dated=False)
    (first,) = (await stage.probe.poll()).heard
    assert first.started == START + timedelta(seconds=10.5)
    stage.shelf.publish(1, 6, dated=False)
    (second,) = (await stage.probe.poll()).heard
    assert second.started == START + timedelta(seconds=12.5)


async def test_opus_in_fragments_is_heard_with_its_init_section(stage: Stage) -> None:
    whole = encode(tone(2.0), "libopus", "mp4", movflags="frag_keyframe+empty_moov+default_base_moof")
    at = whole.index(b"moof") - 4
    text = '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:2.0,\na.m4s\n'
    stage.shelf.things |= {
        "index.m3u8": (200, "x", text.encode()),
        "init.mp4": (200, "audio/mp4", whole[:at]),
        "a.m4s": (200, "audio/mp4", whole[at:]),
    }
    (heard,) = (await stage.probe.poll()).heard
    assert heard.decoded.codec == "opus"
    assert heard.missing_s == 0.0


async def test_the_best_rendition_of_a_master_playlist_is_chosen(stage: Stage) -> None:
    text = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8\n"
    stage.shelf.things["master.m3u8"] = (200, "x", text)
    async with http.client() as session:
        assert await media_playlist_of(session, f"{stage.base}/master.m3u8") == f"{stage.base}/b.m3u8"
        with pytest.raises(SourceError, match="404"):
            await media_playlist_of(session, f"{stage.base}/other.m3u8")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/x", "refused"),
        ("file:///etc/passwd", "address"),
        ("not an address", "address"),
        ("http://[::1", "address"),
        ("http://127.0.0.1:99999/", "address"),
    ],
)
async def test_an_address_that_cannot_be_fetched_says_why(url: str, kind: str) -> None:
    async with http.client() as session:
        with pytest.raises(SourceError) as caught:
            await http.fetch(session, url)
    assert caught.value.kind == kind


async def test_an_endless_body_is_not_read_to_its_end(stage: Stage) -> None:
    stage.shelf.things["big"] = (200, "x", b"x" * 100_000)
    async with http.client() as session:
        with pytest.raises(SourceError) as caught:
            await http.fetch(session, f"{stage.base}/big", max_bytes=10_000)
    assert caught.value.kind == "too-large"
