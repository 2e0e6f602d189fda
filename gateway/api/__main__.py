"""Serves the gateway on 127.0.0.1 until SIGTERM or SIGINT; settings come from the environment."""

from __future__ import annotations

import signal
import socket
import sys

import structlog
import uvicorn

from gateway.api.app import create_app
from tonewatch import secrets
from tonewatch.errors import PortTaken, TonewatchError
from tonewatch.logs import configure
from tonewatch.settings import Settings, read
from warehouse.cache import Cache
from warehouse.database import Warehouse

DEFAULT_PORT = 8414
_BACKLOG = 256


def main() -> int:
    """Serve. The exit status is the error's own when the gateway cannot start."""
    try:
        settings = read()
        configure(settings.log_level, "gateway")
        server, listener = _server(settings)
    except TonewatchError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return error.exit_status
    structlog.get_logger("gateway").info("listening", port=listener.getsockname()[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal once more when it has shut down in order; that must not end us as if killed.
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])
    return 0


def _server(settings: Settings) -> tuple[uvicorn.Server, socket.socket]:
    warehouse = Warehouse.from_settings(settings)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    root_key = secrets.load(settings.state_dir).root_key
    app = create_app(warehouse, Cache(redis_url), root_key)
    listener = _listener(settings.gateway_port or DEFAULT_PORT)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # it would write down addresses of listeners
        server_header=False,
        limit_concurrency=500,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16 * 1024,
    )
    return uvicorn.Server(config), listener


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"port {port} is taken; set gateway_port to another") from error
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())
