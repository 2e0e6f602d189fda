"""`tonewatch listen` and the prober, in real time, against real little broadcasters."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from console.listen import _JsonLines, listen, run, seconds_of
from tasks.listen import Listener, Status, Thresholds, broken
from tasks.probe import Prober, Target
from tests.integration.broadcast import Answer, LiveChannel, encode, sending, serving, silence, tone
from tonewatch.clock import SYSTEM
from tonewatch.errors import SettingsError, SourceError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def statuses_until(url: str, enough: Callable[[Status], bool], seconds: float = 30.0) -> list[Status]:
    found: list[Status] = []
    async for status in Listener(url).statuses(seconds=seconds):
        found.append(status)
        if enough(status):
            break
    return found


async def test_ten_seconds_of_silence_are_found_within_sixteen_of_their_start() -> None:
    channel = LiveChannel((("tone", 7), ("silence", 13), ("tone", 3)))
    async with serving(channel.answer) as base:
        last = (await statuses_until(f"{base}/ch1/master.m3u8", lambda status: "silence" in status.broken))[-1]
    assert "silence" in last.broken
    after = last.time.timestamp() - (channel.started + 7)
    assert 10.0 <= after <= 13.0  # 16 s at 2-s segments: one segment and one poll more than here
    assert last.latency_s == pytest.approx(3.5, abs=1.0)


async def test_a_stopped_playlist_is_found_within_one_and_a_half_target_durations_of_being_due() -> None:
    channel = LiveChannel((("tone", 20),), stop_after=8.0)
    async with serving(channel.answer) as base:
        last = (await statuses_until(f"{base}/ch1/index.m3u8", lambda status: "overdue" in status.broken))[-1]
    due = channel.started + channel.ends()[channel.published()]
    assert "overdue" in last.broken
    assert 0.5 <= last.time.timestamp() - due <= 1.5
    assert last.faults[0].kind == "stale"


async def test_a_calm_channel_breaks_nothing_and_reads_its_level() -> None:
    channel = LiveChannel((("tone", 20),))
    async with serving(channel.answer) as base:
        found = await statuses_until(f"{base}/ch1/index.m3u8", lambda _: False, seconds=4.0)
    last = found[-1]
    assert all(status.broken == () and status.faults == () for status in found)
    assert last.integrated_lufs == pytest.approx(-20.7, abs=0.2)
    assert last.true_peak_dbtp == pytest.approx(-20.0, abs=0.3)
    assert last.balance_db == pytest.approx(0.0, abs=0.1)
    assert 3 <= len(found) <= 6


async def test_a_podcast_is_read_no_faster_than_it_plays_and_ends() -> None:
    channel = LiveChannel((("tone", 3),), ended=True)
    started = time.monotonic()
    async with serving(channel.answer) as base:
        found = await statuses_until(f"{base}/ch1/index.m3u8", lambda _: False)
    assert time.monotonic() - started > 1.5
    assert found[-1].heard_s == pytest.approx(3.0, abs=0.2)


@asynccontextmanager
async def radio(data: bytes, media_type: str, *, icy: bool, seconds_per_byte: float) -> AsyncIterator[str]:
    """A live stream in real time; with `icy` a title in front of every second of it."""
    interval = 4000

    async def send(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        meta = icy and headers.get("icy-metadata") == "1"
        head = f"HTTP/1.0 200 OK\r\ncontent-type: {media_type}\r\nicy-name: Radio Test\r\n"
        writer.write((head + (f"icy-metaint: {interval}\r\n" if meta else "") + "\r\n").encode())
        block = b"StreamTitle='Artist - Song';"
        title = bytes([2]) + block.ljust(32, b"\0") if meta else b""
        for at in range(0, len(data), interval):
            part = data[at : at + interval]
            writer.write(part + (title if len(part) == interval else b""))
            await writer.drain()
            await asyncio.sleep(len(part) * seconds_per_byte)
        writer.close()

    async with sending(send) as base:
        yield f"{base}/radio"


@pytest.mark.parametrize(
    ("codec", "container", "media_type", "icy"),
    [
        ("libmp3lame", "mp3", "audio/mpeg", True),
        ("aac", "adts", "audio/aac", True),
        ("libopus", "ogg", "application/ogg", False),
    ],
)
async def test_a_plain_stream_is_heard_with_its_metadata(
    codec: str, container: str, media_type: str, icy: bool
) -> None:
    data = encode(tone(6.0), codec, container)
    async with radio(data, media_type, icy=icy, seconds_per_byte=6.0 / len(data)) as url:
        found = await statuses_until(url, lambda status: status.heard_s > 3.5)
    last = found[-1]
    assert last.kind == "stream"
    assert last.momentary_lufs == pytest.approx(-20.7, abs=0.5)
    assert last.metadata["station"] == "Radio Test"
    assert last.metadata.get("title") == ("Artist - Song" if icy else None)
    assert last.decode_errors == 0


async def test_a_live_stream_that_breaks_off_is_told_and_opened_again() -> None:
    data = encode(tone(1.5), "libmp3lame", "mp3")
    async with radio(data, "audio/mpeg", icy=False, seconds_per_byte=1.5 / len(data)) as url:
        found = await statuses_until(url, lambda status: status.heard_s > 2.0, seconds=10.0)
    assert any(fault.kind == "retrieval" for status in found for fault in status.faults)
    assert found[-1].heard_s > 2.0


async def test_a_file_is_read_no_faster_than_it_plays() -> None:
    data = encode(silence(4.0), "libmp3lame", "mp3")
    started = time.monotonic()

    async def answer(path: str) -> Answer:
        return 200, "audio/mpeg", data

    async with serving(answer) as base:
        found = await statuses_until(f"{base}/talk.mp3", lambda _: False)
    assert time.monotonic() - started > 1.5
    assert found[-1].silence_s == pytest.approx(4.0, abs=0.2)


async def test_a_file_that_points_to_a_playlist_is_followed() -> None:
    channel = LiveChannel((("tone", 20),))

    async with serving(channel.answer) as base:
        pointer = f"[playlist]\nFile1={base}/ch1/index.m3u8\n".encode()
        channel.replaced["radio.pls"] = (200, "audio/x-scpls", pointer)
        found = await statuses_until(f"{base}/radio.pls", lambda status: status.heard_s > 0)
    assert found[-1].kind == "hls"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, "text/plain", b""), "404"),
        ((200, "text/html", b"<html></html>"), "neither HLS nor"),
        ((200, "application/vnd.apple.mpegurl", b"<html></html>"), "no HLS playlist"),
        ((200, "application/vnd.apple.mpegurl", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ngone/\n"), "no HLS playlist"),
    ],
)
async def test_an_address_without_sound_is_a_clear_message(answer: Answer, message: str) -> None:
    async def answers(path: str) -> Answer:
        return answer if not path.startswith("/gone") else (200, "x", b"nothing")

    async with serving(answers) as base:
        with pytest.raises(SourceError, match=message):
            await statuses_until(f"{base}/x", lambda _: False, seconds=5.0)


async def test_json_lines_and_the_exit_status_tell_what_broke(capsys: pytest.CaptureFixture[str]) -> None:
    channel = LiveChannel((("tone", 5), ("silence", 10)))
    async with serving(channel.answer) as base:
        limits = Thresholds(max_silence_s=2.0)
        command = asyncio.to_thread(run, f"{base}/ch1/index.m3u8", for_seconds=4.0, json_output=True, limits=limits)
        assert await command == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["summary"] is True
    assert datetime.fromisoformat(lines[-1]["broken"]["silence"])
    assert any(line["broken"] == ["silence"] for line in lines[:-1])
    assert lines[0]["target_duration_s"] == 1.0


async def test_plain_lines_and_a_fine_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    channel = LiveChannel((("tone", 20),))
    async with serving(channel.answer) as base:
        assert await asyncio.to_thread(run, f"{base}/ch1/index.m3u8", for_seconds=2.5) == 0
    out = capsys.readouterr().out
    assert "LUFS" in out
    assert "thresholds broken: none" in out


def test_an_unreachable_address_ends_with_two_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://127.0.0.1:1/live.m3u8") == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_the_thresholds_judge_what_they_name() -> None:
    bad = Status(datetime.now().astimezone(), "hls", heard_s=20, integrated_lufs=-30, true_peak_dbtp=0.5, latency_s=9)
    limits = Thresholds(min_lufs=-24, max_true_peak_dbtp=-1, max_latency_s=8, max_lufs=-20, max_decode_errors=0)
    assert broken(bad, limits) == ("loudness-low", "true-peak", "latency")
    assert broken(bad, Thresholds()) == ()


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("90", 90), ("1.5m", 90), ("1h", 3600), ("2min", 120)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-3s", "0", "1d", "60 seconds", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        seconds_of(text)


async def test_the_prober_gives_every_metric_and_one_broken_rendition_stops_no_other() -> None:
    channel = LiveChannel((("tone", 20),))
    channel.replaced["broken.m3u8"] = (200, "text/html", b"<html>")
    channel.delay_s["slow.m3u8"] = 30.0
    names = ("index", "broken", "slow")
    targets = [Target(f"rendition:ch1/{name}", f"/ch1/{name}.m3u8", "channel:ch1") for name in names]
    async with serving(channel.answer) as base:
        prober = Prober(targets, base, segment_s=1.0)
        try:
            probed = await prober.poll(SYSTEM.now(), deadline_s=1.0)
        finally:
            await prober.close()
    values = {sample.series.metric: sample.value for sample in probed.samples}
    assert {sample.series.entity for sample in probed.samples} == {"rendition:ch1/index"}
    assert set(values) == {
        "probe_playlist_age_seconds",
        "probe_playlist_overdue_seconds",
        "probe_segment_seconds",
        "probe_loudness_lufs",
        "probe_silence_seconds",
        "probe_decode_errors",
        "probe_latency_seconds",
    }
    assert values["probe_loudness_lufs"] == pytest.approx(-20.7, abs=0.3)
    assert values["probe_latency_seconds"] == pytest.approx(3.5, abs=1.0)
    assert probed.unanswered == ("rendition:ch1/slow",)
    assert probed.seconds < 1.3
    facts = {(fact.entity, fact.kind) for fact in probed.facts}
    assert facts == {("rendition:ch1/broken", "retrieval"), ("rendition:ch1/slow", "unanswered")}


async def test_the_prober_tells_of_silence_as_a_fact() -> None:
    channel = LiveChannel((("silence", 30),))
    async with serving(channel.answer) as base:
        target = Target("rendition:ch1/index", "/ch1/index.m3u8", "channel:ch1")
        prober = Prober([target], base, segment_s=1.0, silence_after_s=2.5)
        try:
            facts = []
            began = time.monotonic()
            while not facts and time.monotonic() - began < 15.0:
                facts = list((await prober.poll(SYSTEM.now())).facts)
                await asyncio.sleep(0.5)
        finally:
            await prober.close()
    assert [fact.kind for fact in facts] == ["silence"]
    assert facts[0].value >= 2.5


async def test_a_reader_of_json_lines_that_leaves_ends_the_listening() -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    channel = LiveChannel((("tone", 20),))
    async with serving(channel.answer) as base:
        with pytest.raises(BrokenPipeError):
            await listen(f"{base}/ch1/index.m3u8", _JsonLines(Gone()), seconds=5.0, limits=Thresholds())


async def test_latency_grows_while_a_player_waits_and_forgets_a_gap() -> None:
    channel = LiveChannel((("tone", 30),), stop_after=8.0)
    async with serving(channel.answer) as base:
        listening = Listener(f"{base}/ch1/index.m3u8").statuses(seconds=10.0)
        found = []
        async for status in listening:
            found.append(status)
            if (
                status.overdue_s > 3.5 and channel.stop_after
            ):  # on air again, with a gap where the sound would have been
                channel.stop_after = None
                channel.lost = range(channel.published() - 6, channel.published() - 1)
    latencies = [status.latency_s for status in found if status.latency_s is not None]
    assert max(latencies) > 4.2
    assert latencies[-1] < 4.0
