"""What a platform's parts tell, metric by metric, and how each of those figures moves: the simulator's only opinions.

A figure is a level that season, load, host and the figure's own noise move, in its link's domain: `log` for what
multiplies (a latency), `level` for what adds (a loudness), `share` for what lies between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3_600.0
RARE = 3.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One metric of one kind of part.

    level: from, to; each part draws its own. sd: of its own noise, in the link's domain; memory_s: after so many
    seconds the noise has forgotten all but 1/e. tail: degrees of freedom of Student's t, 0 for a normal one.
    season, load, host: how much of the audience's season, of the common noise of the load, and of its host's noise
    it takes up. whole: only whole numbers, drawn around the level. counter: the level is per second, and adds up.
    per: a counter of the same part; this one grows by the level for each of its steps. good: more of it is better.
    """

    metric: str
    unit: str
    level: tuple[float, float]
    sd: float = 0.0
    memory_s: float = 300.0
    tail: float = 0.0
    season: float = 0.0
    load: float = 0.0
    host: float = 0.0
    link: str = "log"
    counter: bool = False
    whole: bool = False
    per: str = ""
    good: bool = False
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def moves(self) -> bool:
        """Whether there is anything to be seen in it."""
        return self.sd > 0 or self.whole

    def rare(self, every_s: float) -> bool:
        """Whether most readings hold no event at all: fewer cannot be seen, only more."""
        return self.counter and self.whole and self.level[1] * every_s < RARE


def _count(metric: str, level: tuple[float, float], season: float, *, good: bool = False, **labels: str) -> Kind:
    """Events: whole, with the audience."""
    return Kind(
        metric,
        "1",
        level,
        0.03,
        season=season,
        load=season,
        counter=True,
        whole=True,
        good=good,
        labels=tuple(sorted(labels.items())),
    )


_UP = Kind("up", "", (1.0, 1.0), link="level")
_PROCESS = (
    Kind("process_cpu_seconds_total", "s", (0.05, 0.3), 0.06, season=0.6, load=0.6, host=0.6, counter=True),
    _UP,
    Kind("event_loop_lag_seconds", "s", (0.001, 0.004), 0.3, 60.0, tail=8.0, season=0.1, host=2.0),
    Kind("process_resident_memory_bytes", "B", (8e7, 6e8), 0.02, 6 * HOUR_S, season=0.03),
    Kind("scrape_seconds", "s", (0.004, 0.02), 0.2, 120.0, tail=6.0, host=1.5),
)


def _server(busy: float) -> tuple[Kind, ...]:
    return (
        _count("http_request_seconds_count", (2 * busy, 6 * busy), 1.0),
        Kind(
            "http_request_seconds_sum",
            "s",
            (0.004, 0.02),
            0.12,
            180.0,
            tail=5.0,
            season=0.08,
            load=1.0,
            host=1.0,
            counter=True,
            per="http_request_seconds_count",
        ),
        _count("http_requests_total", (2 * busy, 6 * busy), 1.0, good=True, code="200"),
        Kind("http_connections", "connections", (20 * busy, 60 * busy), 0.05, season=1.0, load=1.0, whole=True),
        _count("http_requests_total", (0.02, 0.1), 1.0, code="404"),
        Kind("network_transmit_bytes_total", "B", (3e4 * busy, 9e4 * busy), 0.05, season=1.0, load=1.0, counter=True),
        _count("http_requests_total", (2e-4, 1e-3), 0.5, code="503"),
    )


_SOURCE = (
    Kind("source_level_dbfs", "dBFS", (-20.0, -15.0), 1.5, 240.0, season=0.5, link="level"),
    Kind("source_samples_total", "samples", (48_000.0, 48_000.0), 2e-4, 60.0, counter=True, good=True),
)
_INGEST = (
    Kind("ingest_bytes_total", "B", (1.8e5, 2.0e5), 2e-3, 60.0, counter=True, good=True),
    Kind("ingest_input_gap_seconds", "s", (0.015, 0.03), 0.25, 120.0, tail=8.0, host=1.0),
    Kind("ingest_input_connected", "", (1.0, 1.0), link="level", labels=(("input", "primary"),)),
)
_PACKAGE = (Kind("package_queue_length", "segments", (2.0, 6.0), 0.1, 180.0, load=0.5, host=0.5, whole=True),)
_EDGE = (
    _count("edge_cache_hits_total", (8.0, 20.0), 1.0, good=True),
    Kind(
        "edge_upstream_seconds_sum",
        "s",
        (0.01, 0.03),
        0.15,
        240.0,
        tail=4.0,
        load=1.0,
        host=0.5,
        counter=True,
        per="edge_upstream_seconds_count",
    ),
    _count("edge_upstream_seconds_count", (0.3, 1.0), 0.7),
    _count("edge_cache_misses_total", (0.3, 1.0), 0.7),
    _count("edge_upstream_errors_total", (2e-5, 1e-4), 0.5),
)

#: Stage of a part -> what it tells, the most telling first: a small platform tells only the first of these.
KINDS: dict[str, tuple[Kind, ...]] = {
    "source": (_SOURCE[0], *_PROCESS[:2], _SOURCE[1], *_PROCESS[2:]),
    "ingest": (_INGEST[0], *_PROCESS[:2], *_INGEST[1:], *_PROCESS[2:]),
    "transcode": (
        Kind("transcode_lag_seconds", "s", (0.1, 0.3), 0.12, 120.0, tail=5.0, host=1.0),
        *_PROCESS[:2],
        Kind("transcode_queue_length", "frames", (3.0, 9.0), 0.1, 120.0, load=0.2, host=1.0, whole=True),
        *_PROCESS[2:],
    ),
    "package": (_PACKAGE[0], *_PROCESS),
    "origin": (*_server(2.0)[:2], *_PROCESS[:2], *_server(2.0)[2:], *_PROCESS[2:]),
    "edge": (
        *_server(5.0)[:2],
        *_EDGE[:1],
        *_PROCESS[:2],
        _EDGE[2],
        _EDGE[1],
        *_server(5.0)[2:],
        *_EDGE[3:],
        *_PROCESS[2:],
    ),
    "rendition": (
        Kind("probe_latency_seconds", "s", (5.0, 8.0), 0.05, 240.0, tail=6.0, host=0.3),
        Kind("probe_loudness_lufs", "LUFS", (-18.0, -14.0), 0.9, 900.0, season=0.3, link="level"),
        Kind("probe_playlist_age_seconds", "s", (1.5, 2.5), 0.15, 60.0),
        Kind("probe_segment_seconds", "s", (0.02, 0.05), 0.25, 180.0, tail=7.0, load=1.0),
        Kind("probe_decode_errors", "1", (0.0, 0.0), link="level"),
    ),
    "channel": (
        Kind(
            "sessions_playing", "sessions", (200.0, 3_000.0), 0.03, 600.0, season=1.0, load=1.0, whole=True, good=True
        ),
        Kind("sessions_starved_ratio", "1", (0.001, 0.004), 0.25, 300.0, tail=8.0, load=4.0, link="share"),
        Kind("sessions_slow_ratio", "1", (0.01, 0.04), 0.2, 600.0, season=0.3, load=2.0, link="share"),
    ),
}

#: What a part tells once for each rendition that passes through it.
OF_RENDITIONS: dict[str, tuple[Kind, ...]] = {
    "transcode": (
        Kind("transcode_segment_bytes", "B", (1.5e4, 4e4), 0.05, 120.0),
        Kind("transcode_frames_total", "frames", (46.9, 46.9), 1e-3, 60.0, counter=True, good=True),
    ),
    "package": (
        Kind("package_playlist_age_seconds", "s", (1.5, 2.5), 0.12, 60.0, host=0.5),
        Kind("package_segments_total", "segments", (0.5, 0.5), 1e-3, 60.0, counter=True, good=True),
    ),
}
