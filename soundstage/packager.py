"""The packager: puts the transcoders' segments into containers and keeps every live playlist."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from soundstage import containers, framing
from soundstage.configuration import GOOD
from soundstage.errors import Malformed
from soundstage.plan import RATE, RENDITIONS, SEGMENT_SECONDS, Part, Plan, Rendition, write_atomically
from soundstage.playlist import Entry, Playlist, parse, render_master
from soundstage.process import Process, start

WINDOW = int(GOOD["package"]["window"])
KEPT_BEYOND = 2  # RFC 8216, 6.2.2: a removed segment stays for its own duration plus the longest playlist's
GAP_US = 60_000
INIT_NAME = "init.mp4"


def cut_packets(body: bytes, sizes: list[int]) -> list[bytes]:
    """Split a message's body into packets; raises Malformed when the sizes do not fit."""
    if sum(sizes) != len(body) or not sizes:
        raise Malformed("the packets' sizes do not add up to the segment")
    packets, at = [], 0
    for size in sizes:
        packets.append(body[at : at + size])
        at += size
    return packets


class Shelf:
    """One rendition on disk: its segments and its playlist. Goes on where an earlier packager stopped."""

    def __init__(self, folder: Path, rendition: Rendition) -> None:
        self.folder = folder
        self._rendition = rendition
        self._path = folder / "index.m3u8"
        self._run_path = folder / ".run"
        folder.mkdir(parents=True, exist_ok=True)
        self.playlist, self._run = self._recover()

    def _recover(self) -> tuple[Playlist, str]:
        map_uri = INIT_NAME if self._rendition.codec == "opus" else None
        try:
            return parse(self._path.read_text()), self._run_path.read_text()
        except (OSError, Malformed):
            # By the clock, so that a number is not used twice even if the folder was lost: caches hold the old ones.
            return Playlist(int(time.time()) // SEGMENT_SECONDS, 0, (), map_uri), ""

    def age(self) -> float:
        """Seconds since the newest listed segment's end (by its PROGRAM-DATE-TIME); 0 before the first."""
        entries = self.playlist.entries
        return time.time() - entries[-1].end_us / 1e6 if entries else 0.0

    def add(
        self,
        header: dict[str, Any],
        packets: list[bytes],
        window: int = WINDOW,
        target_duration: float = SEGMENT_SECONDS,
    ) -> bool:
        """Publish one segment in a playlist of at most `window`; False for one that is listed already."""
        entries = self.playlist.entries
        begin = int(header["start_us"])
        if entries and begin < entries[-1].end_us - GAP_US:
            return False
        broken = bool(entries) and (header["epoch"] != self._run or begin > entries[-1].end_us + GAP_US)
        sequence = self.playlist.next_sequence
        uri = f"{sequence}.{'m4s' if self._rendition.codec == 'opus' else 'aac'}"
        write_atomically(self.folder / uri, self._contain(header, packets, sequence))
        entry = Entry(uri, begin, header["samples"] / RATE, broken)
        self.playlist = self.playlist.add(entry, window)
        self._run = header["epoch"]
        write_atomically(self._run_path, self._run.encode())
        self.fit(window, target_duration)
        self._remove_old(window + KEPT_BEYOND)
        return True

    def fit(self, window: int, target_duration: float) -> None:
        """Write the playlist anew, with at most `window` segments and that target duration."""
        self.playlist = replace(self.playlist.cut(window), target_duration=target_duration)
        write_atomically(self._path, self.playlist.render().encode())

    def _contain(self, header: dict[str, Any], packets: list[bytes], sequence: int) -> bytes:
        begin = int(header["start_us"])
        if self._rendition.codec == "aac":
            return containers.packed_aac(packets, begin)
        init = self.folder / INIT_NAME
        if header["epoch"] != self._run or not init.exists():
            write_atomically(init, containers.opus_init(bytes.fromhex(header["config"])))
        return containers.opus_fragment(packets, begin, int(header["frame_samples"]), sequence)

    def _remove_old(self, kept: int) -> None:
        oldest = self.playlist.media_sequence - kept
        for path in self.folder.glob("[0-9]*.*"):
            if path.stem.isdigit() and int(path.stem) < oldest:
                path.unlink(missing_ok=True)


class Packager(Process):
    """Takes segments over TCP; a segment is acknowledged once its playlist is written."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        segments = Counter("package_segments", "Segments published", ["rendition"], registry=self.registry)
        age = Gauge("package_playlist_age_seconds", "Now minus the newest end", ["rendition"], registry=self.registry)
        number = Gauge("package_media_sequence", "First listed segment", ["rendition"], registry=self.registry)
        listed = Gauge("package_playlist_segments", "Listed segments", ["rendition"], registry=self.registry)
        self._shelves = {
            (channel, rendition.name): Shelf(plan.media / channel / rendition.name, rendition)
            for channel in plan.channels
            for rendition in RENDITIONS
        }
        self._segments, self._numbers, self._listed = {}, {}, {}
        for key, shelf in self._shelves.items():
            name = "/".join(key)
            self._segments[key] = segments.labels(name)
            self._numbers[key], self._listed[key] = number.labels(name), listed.labels(name)
            self._measure(key)
            age.labels(name).set_function(shelf.age)

    async def work(self) -> None:
        for channel in self.plan.channels:
            write_atomically(self.plan.media / channel / "master.m3u8", render_master(RENDITIONS).encode())
        await framing.accept(self._take, self.part.data_port)
        await self.run_until_cancelled()

    def _shape(self) -> tuple[int, float]:
        """The playlists' window in segments and their target duration in seconds, as configured."""
        return max(1, round(self.setting("window"))), self.setting("target_duration")

    def configured(self) -> None:
        for key, shelf in self._shelves.items():
            shelf.fit(*self._shape())
            self._measure(key)

    def _measure(self, key: tuple[str, str]) -> None:
        playlist = self._shelves[key].playlist
        self._numbers[key].set(playlist.media_sequence)
        self._listed[key].set(len(playlist.entries))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header, body = await framing.read(reader)
            try:
                self._publish(header, body)
            except (Malformed, KeyError, ValueError) as error:
                self.log.alarm("segment_refused", reason=repr(error))
            except OSError as error:
                self.log.alarm("write_failed", reason=str(error))
            writer.write(framing.encode({"ok": True}))

    def _publish(self, header: dict[str, Any], body: bytes) -> None:
        key = (header["channel"], header["rendition"])
        shelf = self._shelves[key]
        if not shelf.add(header, cut_packets(body, header["sizes"]), *self._shape()):
            self.log.warning("segment_repeated", rendition="/".join(key))
            return
        if shelf.playlist.entries[-1].discontinuity:
            self.log.warning("discontinuity", rendition="/".join(key))
        self._segments[key].inc()
        self._measure(key)


if __name__ == "__main__":
    start(Packager)
