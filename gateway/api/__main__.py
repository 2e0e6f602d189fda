"""Serves the gateway until SIGTERM or SIGINT; settings come from the environment."""

from __future__ import annotations

import asyncio
import sys

from gateway.api.app import create_app
from gateway.api.serving import serve
from tonewatch import secrets
from tonewatch.errors import TonewatchError
from tonewatch.logs import configure
from tonewatch.settings import read
from warehouse.cache import Cache
from warehouse.database import Warehouse


def main() -> int:
    """Serve. The exit status is the error's own when the gateway cannot start."""
    try:
        settings = read()
        configure(settings.log_level, "gateway")
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        app = create_app(Warehouse.from_settings(settings), Cache(redis_url), secrets.load(settings.state_dir).root_key)
        asyncio.run(serve(app, settings))
    except TonewatchError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
