"""Serves the app: in plain HTTP to this machine alone, and by TLS 1.3 where it is reached from outside."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from tonewatch.errors import PortTaken, SettingsError
from tonewatch.settings import Settings

DEFAULT_PORT: Final = 8414
_BACKLOG: Final = 256
#: How often the files of the certificate are looked at: a renewed one is used without a restart.
_RENEWAL_S: Final = 30.0

log = structlog.get_logger("gateway")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # two servers in one process: `serve` hears the signals for both


@dataclass(slots=True)
class Certificate:
    """A certificate and its key as they lie on disk, and the context that holds what was read of them last."""

    certificate: Path
    key: Path
    context: ssl.SSLContext
    seen: tuple[float, float]

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Certificate:
        """Raises SettingsError: they cannot be read, or do not belong together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
            return cls(certificate, key, context, _changed(certificate, key))
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"gateway_certificate or gateway_private_key cannot be used: {error}") from error

    def renew(self) -> bool:
        """Take over files that have changed; False: they have not, or cannot be used, and the old ones serve on."""
        try:
            seen = _changed(self.certificate, self.key)
            if seen == self.seen:
                return False
            fresh = Certificate.read(self.certificate, self.key)  # first apart: half of a pair must change nothing
            self.context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (SettingsError, OSError) as error:
            log.warning("the new certificate is not used", error=str(error))
            return False
        self.seen = fresh.seen
        log.info("certificate renewed", file=str(self.certificate))
        return True


async def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTaken, SettingsError before anything is served."""
    listeners = [listener("127.0.0.1", settings.gateway_port or DEFAULT_PORT, "gateway_port")]
    servers = [_Server(_configured(app))]
    certificate = None
    if settings.gateway_listen and settings.gateway_certificate and settings.gateway_private_key:
        certificate = Certificate.read(settings.gateway_certificate, settings.gateway_private_key)
        context = certificate.context
        host, _, port = settings.gateway_listen.rpartition(":")
        listeners.append(listener(host.strip("[]"), int(port), "gateway_listen"))
        servers.append(_Server(_configured(app, lifespan="off", ssl_context_factory=lambda *_: context)))

    def end() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    log.info("listening", addresses=[each.getsockname()[:2] for each in listeners])
    renewing = asyncio.create_task(_renew(certificate), name="renewing")
    try:
        pairs = zip(servers, listeners, strict=True)
        await asyncio.gather(*(server.serve(sockets=[held]) for server, held in pairs))
    finally:
        renewing.cancel()


async def _renew(certificate: Certificate | None) -> None:
    while certificate is not None:
        await asyncio.sleep(_RENEWAL_S)
        certificate.renew()


def _configured(app: FastAPI, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # it would write down addresses of listeners
        server_header=False,
        limit_concurrency=500,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16 * 1024,
        **more,
    )


def listener(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens there; `setting` says where else. Raises PortTaken."""
    # The protocol is named: asyncio sets TCP_NODELAY only on sockets that say they are TCP, and without it each answer
    # waited 40 ms for the client's delayed acknowledgement of its head.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise PortTaken(f"port {port} is taken, or {host} is no address of this machine; set {setting}") from error
    made.listen(_BACKLOG)
    return made


def _changed(certificate: Path, key: Path) -> tuple[float, float]:
    return certificate.stat().st_mtime, key.stat().st_mtime
