"""A real radio station on this machine: Debian's Icecast, fed by liquidsoap, which can be told to fall silent, or by
ffmpeg.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gateway.sources.icecast import IcecastStatus, read
from tests.integration.pushed import until
from tests.ports import free_port

ICECAST, LIQUIDSOAP, FFMPEG = (shutil.which(name) for name in ("icecast2", "liquidsoap", "ffmpeg"))
#: Debian's path is not on everybody's PATH.
ICECAST = ICECAST or shutil.which("icecast2", path="/usr/bin:/usr/sbin")
SECRET = "a-source-of-the-tests"
TITLE = "Ann - A Song"

CONFIGURATION = """<icecast>
  <hostname>localhost</hostname>
  <limits><clients>50</clients><sources>8</sources><source-timeout>6</source-timeout></limits>
  <authentication>
    <source-password>{secret}</source-password><admin-user>admin</admin-user><admin-password>{secret}</admin-password>
  </authentication>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <paths>
    <logdir>{folder}</logdir><webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
  </paths>
  <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot>{owner}</security>
</icecast>
"""
#: Icecast does not run as root; liquidsoap does when it is told that this is meant.
OWNER = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>"
SCRIPT = """
settings.init.allow_root.set(true)
settings.log.file.set(false)
settings.server.telnet.set(true)
settings.server.telnet.port.set({telnet})
silent = ref(false)
programme = amplify(0.2, mksafe(sine(440.)))
radio = insert_metadata(switch(track_sensitive=false, [({{!silent}}, blank()), ({{true}}, programme)]))
server.register(namespace="radio", "silent", fun (told) -> begin silent := told == "true"; "silent: " ^ told end)
server.register(namespace="radio", "title", fun (told) ->
  begin radio.insert_metadata([("artist", "Ann"), ("title", told)]); told end)
output.icecast(id="mp3", %mp3(bitrate=128), host="127.0.0.1", port={port}, password="{secret}", mount="/live.mp3",
  name="Radio Test", radio)
output.icecast(id="opus", %opus(bitrate=64), host="127.0.0.1", port={port}, password="{secret}", mount="/live.opus",
  name="Radio Test", radio)
"""


@dataclass
class RadioStation:
    """The station; `url` is Icecast's address."""

    folder: Path
    port: int
    telnet: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str, *command: str | Path) -> None:
        """Start one of its programs, its words in a log beside it."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, name: str) -> None:
        """End one, at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    async def start_icecast(self) -> None:
        owner = OWNER if os.geteuid() == 0 else ""
        (self.folder / "icecast.xml").write_text(
            CONFIGURATION.format(secret=SECRET, port=self.port, folder=self.folder, owner=owner)
        )
        assert ICECAST is not None
        self.start("icecast", ICECAST, "-c", self.folder / "icecast.xml")
        await until(self.answers, 20, f"icecast answers; see {self.folder}")

    async def answers(self) -> bool:
        with suppress(httpx.HTTPError):
            await self.status()
            return True
        return False

    async def status(self) -> IcecastStatus:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.url}/status-json.xsl")
            return read(answer.content, str(answer.url))

    async def start_liquidsoap(self) -> None:
        """/live.mp3 and /live.opus, with a title."""
        script = self.folder / "radio.liq"
        script.write_text(SCRIPT.format(secret=SECRET, port=self.port, telnet=self.telnet))
        assert LIQUIDSOAP is not None
        self.start("liquidsoap", LIQUIDSOAP, script)
        await self.mounted("/live.mp3", "/live.opus")
        await self.tell(f"radio.title {TITLE.partition(' - ')[2]}")

    async def start_ffmpeg(self, path: str, *options: str) -> None:
        """`path`, by ffmpeg: a tone in real time with the given codec and format."""
        where = f"icecast://source:{SECRET}@127.0.0.1:{self.port}{path}"
        tone = ("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000")
        assert FFMPEG is not None
        self.start(f"ffmpeg-{path[1:]}", FFMPEG, "-nostdin", "-loglevel", "error", *tone, *options, where)
        await self.mounted(path)

    async def mounted(self, *paths: str) -> None:
        """Wait until these are on the air."""

        async def there() -> bool:
            return set(paths) <= {mount.path for mount in (await self.status()).mounts}

        await until(there, 60, f"{', '.join(paths)} are on the air; see {self.folder}")

    async def tell(self, command: str) -> str:
        """A command of liquidsoap's, and its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.telnet)
        writer.write(f"{command}\nexit\n".encode())
        await writer.drain()
        said = await reader.read()
        writer.close()
        return said.decode(errors="replace")

    async def fall_silent(self, silent: bool = True) -> None:
        """Silence instead of the programme from now on, or the programme again."""
        await self.tell(f"radio.silent {str(silent).lower()}")


@contextmanager
def on_air(*, liquidsoap: bool = True, ffmpeg: Sequence[tuple[str, ...]] = ()) -> Iterator[RadioStation]:
    """An Icecast with these sources; ffmpeg: (path, option, ...) of each further stream. Not from within a loop."""
    folder = Path(tempfile.mkdtemp(prefix="tw-radio-"))
    folder.chmod(0o777)  # Icecast writes its log there as nobody
    station = RadioStation(folder, free_port(), free_port())

    async def start() -> None:
        await station.start_icecast()
        if liquidsoap:
            await station.start_liquidsoap()
        for path, *options in ffmpeg:
            await station.start_ffmpeg(path, *options)

    try:
        asyncio.run(start())
        yield station
    finally:
        for name in list(station.processes)[::-1]:
            station.end(name)
        shutil.rmtree(folder, ignore_errors=True)
