"""A Prometheus that answers badly: never half of an answer, never an error of the language."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway.http import client
from gateway.sources.prometheus_server import PrometheusServer
from tests.unit.gateway.test_prometheus import Talk, answering, served
from tonewatch.errors import SourceError

END = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANSWER = {
    "status": "success",
    "data": {
        "resultType": "matrix",
        "result": [
            {"metric": {"__name__": "up", "job": "a"}, "values": [[END.timestamp() - 15, "1"], [END.timestamp(), "0"]]}
        ],
    },
}
WHOLE = json.dumps(ANSWER).encode()


async def asked(talk: Talk) -> int:
    """How many samples are read of it."""
    async with served(talk) as url, client() as session:
        server = PrometheusServer(session, url.removesuffix("/metrics"))
        return sum(len(line.times) for line in await server.raw("up", END - timedelta(minutes=1), END))


async def test_a_whole_answer_is_read() -> None:
    assert await asked(answering(WHOLE)) == 2


@pytest.mark.parametrize(
    "talk",
    [
        answering(WHOLE[: len(WHOLE) // 2], length=len(WHOLE)),
        answering(WHOLE[: len(WHOLE) // 2]),
        answering(b""),
        answering(b"<html>Bad Gateway</html>"),
        answering(WHOLE, "502 Bad Gateway"),
        answering(b"[" * 100_000),
        answering(b'{"status":"success","data":' + b'{"result":' * 50_000),
        answering(b"[]"),
        answering(b'{"status":"error","error":"query timed out"}'),
        answering(b'{"status":"success"}'),
        answering(b'{"status":"success","data":{"resultType":"vector","result":[]}}'),
        answering(b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[["x","1"]]}]}}'),
        answering(
            b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e400,"1"]]}]}}'
        ),
        answering(b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":7}]}}'),
        answering(b'{"status":"success","data":{"resultType":"matrix","result":{"a":1}}}'),
        answering(b"\xff\xfe\x00"),
    ],
    ids=lambda _: "",
)
async def test_what_is_no_whole_answer_gives_nothing_but_an_error_of_the_source(talk: Talk) -> None:
    with pytest.raises(SourceError):
        await asked(talk)
