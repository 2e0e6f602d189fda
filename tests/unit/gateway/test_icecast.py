"""Icecast's status as it comes, with the oddities of its style sheet."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gateway.hosts import Hosts
from gateway.sources.icecast import IcecastStatus, base_of, read
from tonewatch.errors import SourceError

URL = "http://radio.example:8000/status-json.xsl"
LIVE = {
    "listenurl": "http://localhost:8000/live.mp3",
    "listeners": 3,
    "bitrate": 128,
    "server_type": "audio/mpeg",
    "server_name": "Radio",
    "title": "Ann - A Song",
    "stream_start_iso8601": "2026-11-26T14:28:59+0000",
}
TALK = {"listenurl": "http://radio.example:8000/talk", "listeners": 0, "server_type": "application/ogg"}


def status(source: object = None, **more: object) -> IcecastStatus:
    stats = {"server_id": "Icecast 2.4.4", **more} | ({"source": source} if source is not None else {})
    return read(json.dumps({"icestats": stats}).encode(), URL)


def test_one_mount_is_an_object_and_has_everything_that_is_told_of_it() -> None:
    (mount,) = status(LIVE).mounts
    assert (mount.path, mount.listeners, mount.bitrate_kbps, mount.codec) == ("/live.mp3", 3, 128, "MP3")
    assert (mount.title, mount.name) == ("Ann - A Song", "Radio")
    assert mount.started == datetime(2026, 11, 26, 14, 28, 59, tzinfo=UTC)


def test_several_mounts_are_a_list_and_none_is_nothing() -> None:
    assert [mount.path for mount in status([TALK, LIVE]).mounts] == ["/live.mp3", "/talk"]
    assert status().mounts == ()
    assert status([]).mounts == ()


def test_a_mount_that_names_another_host_is_told_and_only_its_path_is_taken() -> None:
    found = {mount.path: mount.elsewhere for mount in status([LIVE, TALK]).mounts}
    assert found == {"/live.mp3": "localhost", "/talk": ""}


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        ('"title": - ', ""),
        ('"title":,"x":1', ""),
        ('"title":1984', "1984"),
        ('"title":"","title":"Late"', "Late"),
        ('"title":"Late","title":""', "Late"),
        ('"title":"say "hi" now","x":"y"', 'say "hi" now'),
        ('"title":"say \\"hi\\" now"', 'say "hi" now'),
        ('"title":"a\tb\x01c"', "abc"),
        ('"title":["A","B"]', "A"),
        ('"title":null', ""),
        ('"title":true', ""),
        ('"artist":"Ann","title":"Song"', "Ann - Song"),
    ],
)
def test_an_odd_value_costs_no_more_than_itself(entry: str, title: str) -> None:
    text = f'{{"icestats":{{"source":{{"listenurl":"http://localhost:8000/a",{entry}}},"dummy":null}}}}'
    (mount,) = read(text.encode(), URL).mounts
    assert (mount.path, mount.title) == ("/a", title)


def test_latin_1_is_read_as_what_it_is() -> None:
    text = '{"icestats":{"source":{"listenurl":"http://localhost:8000/a","title":"Café"}}}'
    assert [read(text.encode(coding), URL).mounts[0].title for coding in ("utf-8", "latin-1")] == ["Café", "Café"]


def test_a_server_that_has_just_started_leaves_a_brace_out() -> None:
    text = b'{"icestats":"server_start":"Thu, 26 Nov 2026 14:40:18 +0000","dummy":null}}'
    assert read(text, URL).mounts == ()


@pytest.mark.parametrize(
    ("told", "kbps"), [({"bitrate": "96"}, 96), ({"ice-bitrate": 64}, 64), ({"audio_bitrate": 128000}, 128), ({}, None)]
)
def test_the_bit_rate_is_found_under_each_of_its_names(told: dict[str, object], kbps: int | None) -> None:
    assert status(TALK | told).mounts[0].bitrate_kbps == kbps


@pytest.mark.parametrize("listed", ["", "http://x", "http://x/", "http://x//y/a", "nonsense", 7, None])
def test_an_entry_without_a_mount_is_passed_over_and_counted(listed: object) -> None:
    found = status([{"listenurl": listed}, LIVE])
    assert [mount.path for mount in found.mounts] == ["/live.mp3"]
    assert found.passed_over == 1


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"icestats":7}', b"{" * 5000, b"\xff\xfe"])
def test_what_is_no_status_is_an_error_of_the_source(content: bytes) -> None:
    with pytest.raises(SourceError, match="gives no status of an Icecast"):
        read(content, URL)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://r.example:8000", "http://r.example:8000"),
        ("http://r.example:8000/live.mp3", "http://r.example:8000"),
        ("http://ann:pass@r.example/status-json.xsl", "http://r.example"),
        ("https://r.example/radio/", "https://r.example/radio"),
        ("http://r.example/admin/stats", "http://r.example"),
        ("http://[::1]:8000/x", "http://[::1]:8000"),
    ],
)
def test_the_address_of_a_page_or_mount_leads_to_its_server(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize("url", ["", "r.example", "ftp://r.example", "http://", "http://[x", "http://r:999999"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(SourceError):
        base_of(url)


def test_only_the_given_host_and_those_named_besides_are_asked() -> None:
    hosts = Hosts("http://radio.example/live.m3u8", ["cdn.example"])
    assert [hosts.allows(host) for host in ("RADIO.example", "cdn.example")] == [True, True]
    for host in ("127.0.0.1", "localhost", "other.example", "radio.example.evil", ""):
        with pytest.raises(SourceError, match="which is not asked"):
            hosts.heed(host, f"http://{host}/")
    assert set(hosts.refused) == {"127.0.0.1", "localhost", "other.example", "radio.example.evil", ""}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "a.localhost", "::1", "[::1]", "0.0.0.0"])
def test_what_a_person_plays_may_lead_anywhere_but_to_this_machine(host: str) -> None:
    elsewhere = Hosts("http://radio.example/radio.pls", others=True)
    assert elsewhere.allows("stream.example")
    assert not elsewhere.allows(host)
    assert not elsewhere.allows("169.254.169.254")
    assert not elsewhere.allows("::ffff:127.0.0.1")
    assert Hosts("http://127.0.0.1/radio.pls", others=True).allows("127.0.0.1")
