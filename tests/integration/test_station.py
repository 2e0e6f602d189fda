"""A real Icecast station (Debian's icecast2, liquidsoap, ffmpeg): heard, connected, watched, and its silence mailed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.demo.mailbox import Mailbox
from console.tenancy import Change, Tenancy
from policy.rules import evaluate
from tasks.audition import audition_hls, audition_icecast
from tasks.listen import Listener, Status
from tasks.tune import Station
from tests.conftest import Database
from tests.integration.broadcast import Answer, LiveChannel, encode, sending, serving, tone
from tests.integration.pushed import until
from tests.integration.station import FFMPEG, ICECAST, LIQUIDSOAP, TITLE, RadioStation, on_air
from tests.integration.test_connect import PROJECT, tonewatch
from tests.ports import free_port
from tests.unit.platform_parts import readings
from tonewatch.clock import SYSTEM
from tonewatch.errors import SourceError
from tonewatch.records import FindingKind, Incident, Sample
from tonewatch.settings import HlsSource, IcecastSource, Settings, Sources, load_profile, to_environment
from warehouse import incidents, samples, tenants
from warehouse.database import Warehouse

needs_station = pytest.mark.skipif(
    None in (ICECAST, LIQUIDSOAP, FFMPEG), reason="icecast2, liquidsoap and ffmpeg are not installed here"
)
OPUS = ("/tone.opus", "-c:a", "libopus", "-b:a", "32k", "-content_type", "application/ogg", "-f", "ogg")
MP3 = ("/tone.mp3", "-c:a", "libmp3lame", "-b:a", "128k", "-content_type", "audio/mpeg", "-f", "mp3")
SILENCE_S = 2.0


@pytest.fixture(scope="module")
def radio() -> Iterator[RadioStation]:
    """One station for all tests here."""
    with on_air(ffmpeg=[OPUS, MP3]) as station:
        yield station


@pytest.fixture
async def station(radio: RadioStation) -> RadioStation:
    """The station while it plays."""
    await radio.fall_silent(False)
    return radio


@needs_station
async def test_a_stream_of_icecast_is_heard_with_its_title_and_ten_seconds_of_silence_within_twelve(
    station: RadioStation,
) -> None:
    silent_since: float | None = None
    last: Status | None = None
    async for last in Listener(f"{station.url}/live.mp3").statuses(seconds=30):
        if silent_since is None and last.momentary_lufs > -30:
            assert last.metadata["title"] == TITLE
            await station.fall_silent()
            silent_since = time.time()
        if "silence" in last.broken:
            break
    assert last is not None
    assert silent_since is not None
    assert 9.0 < last.time.timestamp() - silent_since < 12.0
    assert [fault.kind for fault in last.faults] == ["silence"]
    assert last.faults[0].message.startswith("there has been no sound for 10.")


@needs_station
async def test_connect_icecast_shows_each_mount_and_after_a_yes_it_stands_in_the_settings(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database, station: RadioStation
) -> None:
    ours = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path / "state"),
    }
    began = time.monotonic()
    told = await connect("icecast", station.url, "--json", "--yes", "--as", "ann", "--listen", "2", **ours)
    took = time.monotonic() - began
    with pytest.raises(SourceError, match=r"has no mount /gone.mp3; it lists /live.mp3"):
        await audition_icecast(station.url, 1.0, 10.0, ["/gone.mp3"])
    assert took < 60
    found = json.loads(told.stdout)
    by_path = {each["path"]: each for each in found["channels"]}
    assert set(by_path) == {"/live.mp3", "/live.opus", "/tone.mp3", "/tone.opus"}
    assert by_path["/live.mp3"]["title"] == TITLE
    assert by_path["/live.mp3"]["kbps"] == 128
    assert [by_path[path]["codec"] for path in ("/live.mp3", "/tone.opus")] == ["MP3", "opus"]
    assert all(each["heard_s"] >= 2 and each["lufs"] > -30 and not each["error"] for each in by_path.values())
    assert "service:icecast" in found["entities"]
    assert "channel:icecast/live.mp3" in found["entities"]
    # Debian's Icecast calls itself localhost: not asked, but told.
    assert any("localhost" in remark for remark in found["remarks"])
    async with warehouse.as_tenant(tenant) as db:
        source = (await tenants.profile(tenant, db)).sources.icecast
    assert source is not None
    assert (source.url, set(source.mounts), source.silence_seconds) == (station.url, set(by_path), 10.0)


async def connect(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(tonewatch, *words, **environment)


@asynccontextmanager
async def watching(folder: Path, tenant: str, database: Database, mailbox: Mailbox) -> AsyncIterator[None]:
    """A watcher of the profile station, without an inventory, that mails into `mailbox`."""
    settings = Settings(
        state_dir=folder / "state",
        tenant=tenant,
        profile="station",
        database_url=SecretStr(database.app_url),
        dispatcher_database_url=SecretStr(database.dispatcher_url),
        smtp_url=SecretStr(mailbox.url),
        mail_to=("studio@radio.example",),
    )
    nobody = f"http://127.0.0.1:{free_port()}/api"  # without Prefect the loop goes on
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "console.watch",
        cwd=PROJECT,
        env=os.environ | to_environment(settings) | {"PREFECT_API_URL": nobody, "PREFECT_HOME": str(folder)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@needs_station
async def test_silence_on_a_station_is_an_incident_and_mailed_within_fifteen_seconds_of_its_length(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database, station: RadioStation
) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await tenants.watch_by(tenant, db, "station")

    async def values(metric: str) -> list[float]:
        now = SYSTEM.now()
        async with warehouse.as_tenant(tenant) as db:
            found = await samples.read(tenant, db, now - timedelta(minutes=5), now, metrics=[metric])
        return [sample.value for sample in found]

    async def heard() -> bool:
        loud = [value for value in await values("probe_loudness_lufs") if value > -30]
        return len(loud) > 2 and 1.0 in await values("icecast_listeners")

    async def active() -> list[Incident]:
        async with warehouse.as_tenant(tenant) as db:
            return await incidents.active(tenant, db)

    with Mailbox(tmp_path / "mail") as mailbox:
        async with watching(tmp_path, tenant, database, mailbox), person(station):
            await connect_by_settings(warehouse, tenant, station)
            await until(heard, 60, "the station is followed without a restart, and its one listener counted")
            assert await active() == []
            await station.fall_silent()
            reached = time.monotonic() + SILENCE_S
            await until(lambda: told_of(mailbox, "is silent"), 40, "the silence is mailed")
            assert time.monotonic() - reached < 15.0
            (incident,) = await active()
    assert {"rendition:icecast/live.mp3", "rendition:icecast/live.opus"} & set(incident.entities)
    assert incident.loss_basis == "inferred"
    assert 0.0 < incident.listener_minutes_lost < 1.0
    assert incident.severity == "major", "few are hit, but all of them"


@needs_station
async def test_a_source_that_freezes_is_frozen_first_and_then_its_mount_is_gone(station: RadioStation) -> None:
    tuned = Station(SYSTEM)
    await tuned.follow(Sources(icecast=IcecastSource(url=station.url, mounts=("/tone.mp3",))))
    seen: dict[str, list[Sample]] = {}

    async def look() -> list[Sample]:
        now = SYSTEM.now()
        found = [*await tuned.ask(now), *await tuned.hear(now, 2.0)]
        for sample in found:
            seen.setdefault(sample.series.metric, []).append(sample)
        return found

    async def says(metric: str, least: float) -> bool:
        return any(each.series.metric == metric and each.value >= least for each in await look())

    async def unlisted() -> bool:
        return any(each.series.metric == "icecast_mount_listed" and each.value == 0.0 for each in await look())

    try:
        await until(lambda: says("probe_loudness_lufs", -30.0), 20, "the tone is heard")
        assert seen["icecast_listeners"][-1].value == 0.0  # we are none of them
        assert {sample.value for sample in seen["stream_away"]} == {0.0}
        station.processes["ffmpeg-tone.mp3"].send_signal(signal.SIGSTOP)
        await until(lambda: says("stream_frozen_seconds", 1.0), 20, "nothing comes any more")
        await until(lambda: says("stream_away", 1.0), 30, "Icecast has given the source up")
        # Within one look the status page is read before the stream: it may be the older of the two.
        await until(unlisted, 10, "the mount is gone from the status page as well")
    finally:
        station.processes["ffmpeg-tone.mp3"].send_signal(signal.SIGCONT)
        await tuned.close()
    assert dict(seen["stream_away"][-1].series.labels)["reason"] in {"ended", "status"}


async def test_a_stream_that_pauses_is_never_one_that_cannot_be_decoded() -> None:
    sound = encode(tone(6.0), "libmp3lame", "mp3")
    paused = asyncio.Event()

    async def send(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: audio/mpeg\r\nicy-name: Slow\r\n\r\n")
        for half in (sound[: len(sound) // 2], sound[len(sound) // 2 :]):
            writer.write(half)
            await writer.drain()
            await asyncio.sleep(1.5)
        paused.set()
        await asyncio.Event().wait()

    async with sending(send) as base:
        tuned = Station(SYSTEM)
        await tuned.follow(Sources(icecast=IcecastSource(url=base, mounts=("/live.mp3",))))
        undecoded = [0.0]
        while not paused.is_set():  # also between the arrival of bytes and their decoding
            heard = {sample.series.metric: sample.value for sample in await tuned.hear(SYSTEM.now(), 2.0)}
            undecoded.append(heard.get("stream_undecoded_seconds", 0.0))
            await asyncio.sleep(0)
        await tuned.close()
    assert heard["probe_silence_seconds"] < 0.5
    assert max(undecoded) < 0.5


async def test_bytes_that_are_no_sound_are_told_from_silence_and_from_a_frozen_stream() -> None:
    async def send(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: audio/mpeg\r\nicy-name: Noise\r\n\r\n")
        while True:
            writer.write(b"no sound at all " * 64)
            await writer.drain()
            await asyncio.sleep(0.1)

    async with sending(send) as base:
        tuned = Station(SYSTEM)
        await tuned.follow(Sources(icecast=IcecastSource(url=base, mounts=("/live.mp3",))))

        async def undecoded() -> bool:
            found = {sample.series.metric: sample.value for sample in await tuned.hear(SYSTEM.now(), 2.0)}
            return found.get("stream_undecoded_seconds", 0.0) > 1.0 and found["stream_frozen_seconds"] < 1.0

        await until(undecoded, 20, "bytes and no sound")
        await tuned.close()


async def told_of(mailbox: Mailbox, words: str) -> bool:
    return any(words in mail.as_string() for mail in mailbox.messages())


async def connect_by_settings(warehouse: Warehouse, tenant: str, station: RadioStation) -> None:
    source = {"url": station.url, "mounts": ["/live.mp3", "/live.opus"], "silence_seconds": SILENCE_S}
    change = Change(set=tuple(f"sources.icecast.{key}={json.dumps(value)}" for key, value in source.items()))
    await Tenancy(warehouse).change(tenant, change, "ann", "")


@asynccontextmanager
async def person(station: RadioStation) -> AsyncIterator[None]:
    """One who listens to the MP3."""
    assert FFMPEG is not None
    words = ("-nostdin", "-loglevel", "quiet", "-i", f"{station.url}/live.mp3", "-f", "null", "-")
    process = await asyncio.create_subprocess_exec(FFMPEG, *words)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def test_hls_is_heard_rendition_by_rendition_and_no_other_host_is_followed() -> None:
    channel = LiveChannel((("tone", 20),))
    stream = '#EXT-X-STREAM-INF:BANDWIDTH={},CODECS="mp4a.40.2"\n{}\n'
    elsewhere = stream.format(64000, "http://localhost:1/low.m3u8")
    for name, text in (("master", stream.format(96000, "index.m3u8") + elsewhere), ("only", elsewhere)):
        channel.replaced[f"{name}.m3u8"] = (200, "application/vnd.apple.mpegurl", f"#EXTM3U\n{text}".encode())
    async with serving(channel.answer) as base:
        found = await audition_hls(f"{base}/ch1/master.m3u8", 1.0, 10.0)
        with pytest.raises(SourceError, match="is at localhost, which is not asked"):
            await audition_hls(f"{base}/ch1/only.m3u8", 1.0, 10.0)
    assert [(each.path, each.kbps, each.error) for each in found.streams] == [("index.m3u8", 96, "")]
    assert found.streams[0].lufs == pytest.approx(-20.7, abs=0.5)
    assert "localhost" in found.remarks[0]
    assert found.entities == ["service:hls", "rendition:hls/ch1/index.m3u8", "channel:hls/ch1/index.m3u8"]


async def test_segments_at_another_host_are_not_fetched_and_a_watched_playlist_that_names_them_is_a_finding() -> None:
    segments = "".join(f"#EXTINF:1.0,\nhttp://localhost:1/{number}.aac\n" for number in range(3))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n{segments}"

    async def answer(path: str) -> Answer:
        return 200, "application/vnd.apple.mpegurl", playlist.encode()

    async with serving(answer) as base:
        station = Station(SYSTEM)
        await station.follow(Sources(hls=HlsSource(url=f"{base}/radio.m3u8")))
        now = SYSTEM.now()
        heard = await station.hear(now, 2.0)
        await station.close()
    foreign = [sample for sample in heard if sample.series.metric == "source_foreign_host"]
    assert [sample.series.labels for sample in foreign] == [(("host", "localhost"),)]
    found = evaluate({}, readings(foreign), now, load_profile("station"))
    assert found["service:hls", "rule:foreign-host"].kind is FindingKind.SECURITY


@pytest.mark.parametrize(("path", "said"), [("/page", "is it one"), ("/away", "404")])
async def test_what_is_no_icecast_cannot_be_read(path: str, said: str) -> None:
    async def answer(asked: str) -> Answer:
        return (200, "text/html", b"<html></html>") if asked.startswith("/page") else (404, "text/html", b"")

    async with serving(answer) as base:
        with pytest.raises(SourceError, match=said):
            await audition_icecast(f"{base}{path}/", 1.0, 10.0)


async def test_connect_ends_with_one_and_a_line_where_nobody_is() -> None:
    told = await connect("icecast", f"http://127.0.0.1:{free_port()}", "--look")
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "cannot be reached" in told.stderr
