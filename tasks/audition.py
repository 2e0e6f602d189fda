"""Hears a station that is to be connected for a few seconds: which streams it has, and how they sound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from gateway.hosts import Hosts, host_of
from gateway.http import Session, client, fetch
from gateway.sources.icecast import Mount, base_of, fetch_status
from gateway.sources.playlist import MAX_BYTES, MasterPlaylist, Variant, parse
from tasks.listen import Listener, Status
from tasks.tune import entities_of
from tonewatch.errors import SourceError
from tonewatch.settings import HlsSource, IcecastSource, Sources

#: So many streams are heard at once, and no more of them in all (settings.IcecastSource).
AT_ONCE, MOST = 8, 32
ASK_S = 5.0
#: A stream may take so much longer than it is listened to: its head, and the first segments.
OPENING_S = 10.0


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream: what is said of it, and what was heard; `lufs` None: nothing was. `path`: as the settings name it."""

    path: str
    url: str
    codec: str = ""
    kbps: int | None = None
    listeners: int | None = None
    since: str = ""
    title: str = ""
    heard_s: float = 0.0
    lufs: float | None = None
    silence_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Auditioned:
    """A station: `server` is what it calls itself, `remarks` what is odd about it, `sources` what would be written."""

    server: str
    url: str
    streams: tuple[Stream, ...]
    remarks: tuple[str, ...]
    sources: Sources

    @property
    def entities(self) -> list[str]:
        """Ids of the entities that it would become."""
        return [entity.id for entity in entities_of(self.sources)]


async def audition_icecast(url: str, seconds: float, silence_s: float, only: Sequence[str] = ()) -> Auditioned:
    """The mounts of the Icecast at `url`, or `only` those. Raises SourceError: no Icecast, or none of them is there."""
    base = base_of(url)
    hosts = Hosts(base)
    async with client(timeout_s=ASK_S, hosts=hosts) as session:
        status = await fetch_status(session, base, deadline_s=ASK_S)
    there = {mount.path: mount for mount in status.mounts}
    wanted = list(only) or list(there)
    missing = [path for path in wanted if path not in there]
    if missing or not wanted:
        told = ", ".join(there) or "none: start its source client first"
        raise SourceError(f"{base} has no mount {', '.join(missing)}; it lists {told}".replace("mount ;", "mount;"))
    remarks = [f"{path} is left out: no more than {MOST} streams are heard" for path in wanted[MOST:]]
    mounts = [there[path] for path in wanted[:MOST]]
    remarks += [
        f"{mount.path} calls itself a stream of {mount.elsewhere}: that is not asked, but {host_of(base)}"
        for mount in mounts
        if mount.elsewhere
    ]
    streams = await _heard([_of_mount(base, mount) for mount in mounts], seconds, hosts)
    remarks += _refused(hosts)
    source = IcecastSource(url=base, mounts=tuple(mount.path for mount in mounts), silence_seconds=silence_s)
    return Auditioned(status.server, base, streams, tuple(remarks), Sources(icecast=source))


def _of_mount(base: str, mount: Mount) -> Stream:
    since = f"{mount.started:%Y-%m-%d %H:%M} UTC" if mount.started else ""
    url = base + mount.path
    return Stream(mount.path, url, mount.codec, mount.bitrate_kbps, mount.listeners, since, mount.title)


async def audition_hls(url: str, seconds: float, silence_s: float, more_hosts: Sequence[str] = ()) -> Auditioned:
    """The renditions of the playlist at `url`; `more_hosts` may be asked besides its own.

    Raises SourceError: no playlist, or no rendition at a host that may be asked.
    """
    hosts = Hosts(url, more_hosts)
    async with client(timeout_s=ASK_S, hosts=hosts) as session:
        variants, kind = await _variants(session, url)
    elsewhere = [variant.uri for variant in variants if not hosts.allows(host_of(variant.uri))]
    variants = [variant for variant in variants if variant.uri not in elsewhere]
    remarks = [
        f"{uri} is at {host_of(uri)}, which is not asked: --host {host_of(uri)} if it is yours" for uri in elsewhere
    ]
    if not variants:
        raise SourceError(f"{url} has no rendition that may be heard. " + "; ".join(remarks), kind="host")
    remarks += [f"{variant.uri} is left out: no more than {MOST} are heard" for variant in variants[MOST:]]
    found = [
        Stream(_relative(url, variant.uri), variant.uri, variant.codecs, variant.bandwidth // 1000 or None)
        for variant in variants[:MOST]
    ]
    streams = await _heard(found, seconds, hosts)
    remarks += _refused(hosts)
    source = HlsSource(
        url=url,
        renditions=tuple(stream.path for stream in streams),
        hosts=tuple(more_hosts),
        silence_seconds=silence_s,
    )
    return Auditioned(kind, url, streams, tuple(remarks), Sources(hls=source))


async def _variants(session: Session, url: str) -> tuple[list[Variant], str]:
    fetched = await fetch(session, url, deadline_s=ASK_S, max_bytes=MAX_BYTES)
    playlist = parse(fetched.text, fetched.url)
    if isinstance(playlist, MasterPlaylist):
        # Several lines may name the same playlist, with other video or subtitles.
        variants = {variant.uri: variant for variant in playlist.variants}
        return list(variants.values()), "HLS master playlist"
    return [Variant(fetched.url)], "HLS playlist"


def _relative(url: str, uri: str) -> str:
    """`uri` as short as it can be said from `url` on."""
    short = uri.removeprefix(urljoin(url, "."))
    return short if urljoin(url, short) == uri else uri


def _refused(hosts: Hosts) -> list[str]:
    return [f"{url} is at {host}, which is not asked and was not followed" for host, url in hosts.refused.items()]


async def _heard(streams: Sequence[Stream], seconds: float, hosts: Hosts) -> tuple[Stream, ...]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def hear(stream: Stream) -> Stream:
        async with turns:
            return await _listen(stream, seconds, hosts)

    return tuple(await asyncio.gather(*(hear(stream) for stream in streams)))


async def _listen(stream: Stream, seconds: float, hosts: Hosts) -> Stream:
    last: Status | None = None
    try:
        async with asyncio.timeout(seconds + OPENING_S):
            listening = Listener(stream.url, hosts=hosts).statuses(seconds=OPENING_S + seconds)
            async with aclosing(listening):
                async for last in listening:
                    if last.heard_s >= seconds:
                        break
    except SourceError as error:
        return replace(stream, error=str(error))
    except TimeoutError:
        pass
    if last is None or not last.heard_s:
        return replace(stream, error=f"no sound within {seconds + OPENING_S:g} s")
    return replace(
        stream,
        codec=stream.codec if stream.codec not in ("", "Ogg") else last.codec,
        title=last.metadata.get("title", "") or stream.title,
        heard_s=round(last.heard_s, 1),
        lufs=round(last.integrated_lufs, 1),
        silence_s=round(last.silence_s, 1),
    )
