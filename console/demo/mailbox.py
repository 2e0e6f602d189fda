"""The demo's mailbox: a small SMTP server on this machine that keeps each mail as one .eml file.

It removes no repeats: who looks into it sees what a receiver would.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from asyncio import AbstractServer
from collections.abc import Awaitable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tonewatch.errors import PortTaken, StateFolderError

MAX_MAIL = 4 * 1024 * 1024


class _Keeper:
    """Writes each mail whole: under its name only when its last byte is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = len(list(folder.glob("*.eml")))

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content or b""
        self._count += 1
        path = self._folder / f"{self._count:06d}.eml"
        unfinished = path.with_suffix(".part")
        try:
            unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())
            unfinished.replace(path)
        except OSError as error:
            return f"452 the mailbox cannot keep it: {error.strerror}"
        return "250 kept"


class _Server(Controller):
    """On a socket that is bound already, so that port 0 can be any free one."""

    def __init__(self, handler: object, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__(handler, hostname=host, port=port, data_size_limit=MAX_MAIL, decode_data=False)
        self._listener = listener

    def _create_server(self) -> Awaitable[AbstractServer]:
        made: Awaitable[AbstractServer] = self.loop.create_server(self._factory_invoker, sock=self._listener)
        return made


class Mailbox:
    """Receives on 127.0.0.1:`port` (0: a free one; see `port` after `start`) into `folder`."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """What smtp_url is set to."""
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Receive from now on. Raises StateFolderError: the folder cannot be written; PortTaken."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateFolderError(f"the mailbox {self.folder} cannot be made: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK):
            raise StateFolderError(f"the mailbox {self.folder} cannot be written; choose another state_dir")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self.port))
        except OSError as error:
            listener.close()
            raise PortTaken(f"port {self.port} of the mailbox is taken; use port 0 for a free one") from error
        self.port = listener.getsockname()[1]
        self._server = _Server(_Keeper(self.folder), listener)
        self._server.start()
        return self

    def stop(self) -> None:
        """Receive no more; the mails stay."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def messages(self) -> list[EmailMessage]:
        """All mails in the order in which they came, repeats included."""
        parser: BytesParser[Any] = BytesParser(policy=policy.default)
        return [parser.parsebytes(path.read_bytes()) for path in sorted(self.folder.glob("*.eml"))]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main(arguments: list[str]) -> int:
    """`python -m console.demo.mailbox FOLDER [PORT]`: receive until SIGTERM or SIGINT; the address is printed first."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m console.demo.mailbox FOLDER [PORT]", file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Mailbox(Path(arguments[0]), int(arguments[1]) if len(arguments) == 2 else 0) as mailbox:
        print(mailbox.url, flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
