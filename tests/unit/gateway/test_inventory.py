from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from gateway.http import client
from gateway.sources.inventory import fetch, read
from tonewatch.errors import SourceError

GOOD: dict[str, Any] = {
    "platform": "soundstage",
    "day": {"seconds": 90, "started": "2026-01-01T00:00:00+00:00"},
    "segment_seconds": 2,
    "components": [
        {
            "id": "component:transcoder-ch1",
            "stage": "transcode",
            "process": "transcoder-ch1",
            "metrics_url": "http://127.0.0.1:9001/metrics",
            "log_path": "/tmp/transcoder-ch1.jsonl",
            "feeds": ["component:packager"],
            "channel": "channel:ch1",
        },
        {
            "id": "component:packager",
            "stage": "package",
            "process": "packager",
            "metrics_url": "http://127.0.0.1:9002/metrics",
            "log_path": "/tmp/packager.jsonl",
            "feeds": ["component:origin"],
            "channel": None,
        },
        {
            "id": "component:origin",
            "stage": "origin",
            "process": "origin",
            "metrics_url": "http://127.0.0.1:9003/metrics",
            "log_path": "/tmp/origin.jsonl",
            "feeds": ["edge:edge-1"],
        },
        {
            "id": "edge:edge-1",
            "stage": "edge",
            "process": "edge-1",
            "metrics_url": "http://127.0.0.1:9004/metrics",
            "log_path": "/tmp/edge-1.jsonl",
        },
    ],
    "channels": [
        {
            "id": "channel:ch1",
            "name": "ch1",
            "master": "/ch1/master.m3u8",
            "renditions": [
                {
                    "id": "rendition:ch1/aac-128",
                    "playlist": "/ch1/aac-128/index.m3u8",
                    "codec": "aac",
                    "bitrate_bps": 128000,
                }
            ],
        }
    ],
    "origin": {"id": "component:origin", "base_url": "http://127.0.0.1:9003"},
    "edges": [{"id": "edge:edge-1", "base_url": "http://127.0.0.1:9004"}],
    "control": {"kind": "supervisor", "url": "http://127.0.0.1:9000/RPC2"},
}


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    inventory = deepcopy(GOOD)
    change(inventory)
    return json.dumps(inventory).encode()


def test_an_inventory_becomes_entities() -> None:
    inventory = read(json.dumps(GOOD).encode())
    entities = {entity.id: entity for entity in inventory.entities()}
    assert set(entities) == {
        "component:transcoder-ch1",
        "component:packager",
        "component:origin",
        "edge:edge-1",
        "channel:ch1",
        "rendition:ch1/aac-128",
    }
    assert entities["component:transcoder-ch1"].feeds == ("component:packager",)
    assert entities["component:transcoder-ch1"].labels["process"] == "transcoder-ch1"
    assert entities["edge:edge-1"].labels["base_url"] == "http://127.0.0.1:9004"
    assert entities["rendition:ch1/aac-128"].depends_on == ("component:origin",)
    assert entities["rendition:ch1/aac-128"].labels["playlist"] == "/ch1/aac-128/index.m3u8"
    assert "rendition:ch1/aac-128" in entities["channel:ch1"].depends_on
    assert {each for each in entities["channel:ch1"].depends_on if each.startswith("edge:")} == {"edge:edge-1"}


def test_an_inventory_names_what_to_scrape_and_read() -> None:
    inventory = read(json.dumps(GOOD).encode())
    assert inventory.targets["component:packager"] == "http://127.0.0.1:9002/metrics"
    assert inventory.logs["edge:edge-1"] == "/tmp/edge-1.jsonl"
    assert inventory.processes["edge:edge-1"] == "edge-1"


CONTROLLED: dict[str, Any] = deepcopy(GOOD)
CONTROLLED["routing"] = {"url": "http://127.0.0.1:9010/routing"}
CONTROLLED["components"][1]["versions"] = {"url": "http://127.0.0.1:9002/version"}
CONTROLLED["components"] += [
    {"id": f"component:source-{name}", "stage": "source", "process": name, "metrics_url": "http://127.0.0.1:9005/"}
    for name in ("primary", "backup")
]
CONTROLLED["components"].append(
    {
        "id": "component:ingest-ch1",
        "stage": "ingest",
        "process": "ingest-ch1",
        "metrics_url": "http://127.0.0.1:9006/metrics",
        "inputs": {
            "url": "http://127.0.0.1:9006/input",
            "values": ["primary", "backup"],
            "sources": {"primary": "component:source-primary", "backup": "component:source-backup"},
        },
    }
)
INGEST = len(CONTROLLED["components"]) - 1


def test_an_inventory_tells_what_can_be_set_and_where() -> None:
    inventory = read(json.dumps(CONTROLLED).encode())
    assert inventory.versions == {"component:packager": "http://127.0.0.1:9002/version"}
    assert inventory.routing == "http://127.0.0.1:9010/routing"
    assert list(inventory.inputs) == ["component:ingest-ch1"]
    assert inventory.inputs["component:ingest-ch1"].values == ("primary", "backup")
    assert inventory.input_of("component:source-backup") == ("component:ingest-ch1", "backup")
    assert inventory.input_of("component:packager") is None


def test_an_inventory_without_controls_offers_none() -> None:
    inventory = read(json.dumps(GOOD).encode())
    assert (inventory.inputs, inventory.versions, inventory.routing) == ({}, {}, None)
    assert inventory.input_of("component:source-primary") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i: i["components"][INGEST]["inputs"].update(url="http://u:p@h/input"), "no credentials"),
        (lambda i: i["components"][INGEST]["inputs"].update(url="file:///input"), "http or https"),
        (lambda i: i["components"][INGEST]["inputs"].update(values=[]), "values"),
        (lambda i: i["components"][INGEST]["inputs"].update(values=["primary", "primary"]), "same name"),
        (lambda i: i["components"][INGEST]["inputs"].update(values=["../x"]), "values"),
        (lambda i: i["components"][INGEST]["inputs"]["sources"].update(third="component:origin"), "is no input"),
        (lambda i: i["components"][INGEST]["inputs"]["sources"].update(backup="component:no"), "not in the inventory"),
        (
            lambda i: i["components"][INGEST]["inputs"]["sources"].update(backup="component:source-primary"),
            "same source",
        ),
        (
            lambda i: i["components"][1].update(inputs=i["components"][INGEST]["inputs"]),
            "two ingests take the same source",
        ),
        (lambda i: i["components"][1]["versions"].update(url="http://:p@h/version"), "no credentials"),
        (lambda i: i["components"][1].update(versions={}), "versions.url"),
        (lambda i: i["routing"].update(url="routing"), "routing.url"),
    ],
)
def test_a_control_with_a_fault_is_refused_with_its_place(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    inventory = deepcopy(CONTROLLED)
    change(inventory)
    with pytest.raises(SourceError, match=told):
        read(json.dumps(inventory).encode())


def test_what_a_later_platform_adds_is_read_past() -> None:
    assert read(changed(lambda inventory: inventory.update(news=1))) == read(json.dumps(GOOD).encode())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i: i["components"][0].update(id="transcoder"), "kind:name"),
        (lambda i: i["components"][0].update(id="component:../../etc\n"), "kind:name"),
        (lambda i: i["components"][0].update(metrics_url="file:///etc/passwd"), "http or https"),
        (lambda i: i["components"][0].update(metrics_url="http://u:p@h/metrics"), "no credentials"),
        (lambda i: i["components"][0].update(stage="magic"), "stage"),
        (lambda i: i["components"][0].update(feeds=["component:nowhere"]), "not in the inventory"),
        (lambda i: i["components"].append(i["components"][0]), "same id"),
        (lambda i: i["components"].clear(), "components"),
        (lambda i: i["components"][0].update(process="a b; rm"), "process"),
        (lambda i: i.pop("origin"), "origin"),
        (lambda i: i["channels"][0]["renditions"][0].update(bitrate_bps=0), "bitrate_bps"),
        (lambda i: i.update(segment_seconds=0), "segment_seconds"),
        (lambda i: i["control"].update(kind="shell"), "control.kind"),
    ],
)
def test_an_inventory_with_a_fault_is_refused_with_its_place(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    with pytest.raises(SourceError, match=told) as raised:
        read(changed(change))
    assert raised.value.reason == "garbage"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b"\xff\xfe", b'{"platform": "x"}'])
def test_what_is_no_inventory_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match="is no inventory"):
        read(content)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/inventory", "inventory", "http://"])
async def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    async with client() as session:
        with pytest.raises(SourceError) as raised:
            await fetch(session, url)
    assert raised.value.reason == "address"
