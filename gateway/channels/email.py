"""E-mail over SMTP. All notices of an incident make one thread; a repeat carries the same Message-ID."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.channels import one_line
from gateway.links import Links, has_places, may_act, without
from tonewatch.errors import ChannelError, ChannelRefused, SettingsError
from tonewatch.records import Evidence, Notice

_PORTS: Final = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
#: How a notice's HTML names an image of its own: by the id under which the evidence holds it.
_IMAGE = re.compile(r"cid:([0-9a-f]{32})@tonewatch")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}")

#: (tenant, evidence ids) -> those images that are still kept.
Images = Callable[[str, Sequence[str]], Awaitable[Sequence[Evidence]]]
#: A message, and who gets it.
Letter = tuple[EmailMessage, list[str]]


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server. `scheme` is smtp, smtps or smtp+starttls."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_url(cls, url: str) -> Server:
        """Raises SettingsError: not of the form; the message does not repeat the address, which may hold a password."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host, port = "", None, None
        if scheme not in _PORTS or not host or parts.path not in {"", "/"}:
            raise SettingsError("smtp_url must be smtp://, smtps:// or smtp+starttls:// [user:password@]host[:port]")
        return cls(scheme, host, port or _PORTS[scheme], unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def where(self) -> str:
        """For messages: without credentials."""
        return f"{self.scheme}://{self.host}:{self.port}"


class Email:
    """Sends notices from `sender` to `receivers`. `tls`: another trust than the system's (tests).

    `further`: who is told besides them of a notice of a higher level; who is told of L2 is told of L3, too.
    `images`: where the images come from that a notice's HTML names; without it a mail carries none. `links`: writes
    the links that a notice has places for; each receiver then gets a mail of their own: a link acts in their name.
    """

    def __init__(
        self,
        server: Server,
        sender: str,
        receivers: Sequence[str],
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        further: Mapping[str, Sequence[str]] | None = None,
        images: Images | None = None,
        links: Links | None = None,
    ) -> None:
        self._server = server
        self._sender = _checked(sender, "mail_from")
        self._receivers = tuple(_checked(receiver, "mail_to") for receiver in receivers)
        self._further = {
            level: tuple(_checked(each, f"mail_to_{level.lower()}") for each in addresses)
            for level, addresses in sorted((further or {}).items())
        }
        self._timeout = timeout
        self._tls = tls
        self._images = images
        self._links = links
        if not self._receivers:
            raise SettingsError("mail_to names nobody: set it to who gets the notices")

    async def send(self, notice: Notice) -> None:
        # smtplib ends by its own time-out, so that a thread cannot be left behind for long.
        named = list(dict.fromkeys(_IMAGE.findall(notice.html))) if self._images else []
        images = await self._images(notice.tenant, named) if self._images and named else ()
        await asyncio.to_thread(self._send, self._letters(notice, images))

    def _letters(self, notice: Notice, images: Sequence[Evidence]) -> list[Letter]:
        receivers = self._receivers_of(notice.level)
        if not has_places(notice) or self._links is None:
            return [(self.compose(without(notice), images), receivers)]
        written = [(each, self._links.filled(notice, each) if may_act(each) else without(notice)) for each in receivers]
        return [(self.compose(own, images, [each]), [each]) for each, own in written]

    def _receivers_of(self, level: str) -> list[str]:
        further = [address for name, addresses in self._further.items() if name <= level for address in addresses]
        return list(dict.fromkeys([*self._receivers, *further]))

    def compose(
        self, notice: Notice, images: Sequence[Evidence] = (), receivers: Sequence[str] | None = None
    ) -> EmailMessage:
        """The message as it is sent: plain text and HTML with its images, ids that follow from the notice alone.

        `receivers`: to whom; by default to all that are told of the notice's level.
        """
        domain = self._sender.rpartition("@")[2]
        message = EmailMessage()
        message["Subject"] = one_line(notice.subject)
        message["From"] = Address("Tonewatch", addr_spec=self._sender)
        message["To"] = ", ".join(receivers or self._receivers_of(notice.level))
        if notice.created is not None:  # else the server writes when it came
            message["Date"] = format_datetime(notice.created)
        message["Message-ID"] = f"<{notice.dedup_key}@{domain}>"
        thread = f"<{notice.thread_key}@{domain}>"
        message["In-Reply-To"] = thread
        message["References"] = thread
        message["Auto-Submitted"] = "auto-generated"
        message["X-Tonewatch-Incident"] = one_line(notice.incident)
        message["X-Tonewatch-State"] = one_line(notice.incident_state)
        message.set_content(_sendable(notice.body))
        if notice.html:
            message.add_alternative(_sendable(notice.html), subtype="html")
        page = message.get_body(("html",))
        if page is not None:
            for image in images:
                # Inside the HTML's own part, not beside it: so mail programs show it in its place.
                kind, _, subtype = image.media_type.partition("/")
                cid, name = f"<{image.id}@tonewatch>", f"{image.kind}.{subtype}"
                page.add_related(image.content, kind, subtype, cid=cid, filename=name, disposition="inline")
        return message

    def _send(self, letters: Sequence[Letter]) -> None:
        try:
            with self._connected() as connection:
                self._deliver(connection, letters)
        except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError) as error:
            # Before a message is named the answer is about the server or our account: mending that lets it through.
            raise ChannelError(f"{self._server.where} did not let us in: {_reason(error)}") from error
        except OSError as error:  # every error of smtplib is one as well
            raise ChannelError(f"{self._server.where} is away or broke off: {_reason(error)}") from error

    def _connected(self) -> smtplib.SMTP:
        context = self._tls or (ssl.create_default_context() if self._server.scheme != "smtp" else None)
        host, port = self._server.host, self._server.port
        if self._server.scheme == "smtps":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=self._timeout, context=context)
        else:
            connection = smtplib.SMTP(host, port, timeout=self._timeout)
        try:
            if self._server.scheme == "smtp+starttls":
                connection.starttls(context=context)
            if self._server.user:
                connection.login(self._server.user, self._server.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _deliver(self, connection: smtplib.SMTP, letters: Sequence[Letter]) -> None:
        refused: dict[str, tuple[int, bytes]] = {}
        for message, receivers in letters:
            try:
                refused |= connection.send_message(message, self._sender, receivers)
            except smtplib.SMTPRecipientsRefused as error:
                refused |= error.recipients
            except smtplib.SMTPResponseException as error:
                self._raise_for([error.smtp_code], _reason(error), everybody=True)
        everybody = len(refused) == sum(len(receivers) for _, receivers in letters)
        self._raise_for([code for code, _ in refused.values()], _answers(refused), everybody=everybody)

    def _raise_for(self, codes: Sequence[int], answer: str, *, everybody: bool) -> None:
        # A part of the receivers that is refused for good does not take the notice back from the others.
        if any(code < 500 for code in codes):
            raise ChannelError(f"{self._server.where} put the message off: {answer}")
        if everybody:
            raise ChannelRefused(f"{self._server.where} refused the message: {answer}")


def _checked(address: str, setting: str) -> str:
    bare = parseaddr(address)[1]
    if not _ADDRESS.fullmatch(bare) or not address.isprintable():
        raise SettingsError(f"{setting}: {address!r} is no e-mail address")
    return bare


def _sendable(text: str) -> str:
    # Lone surrogates (from bytes that were no UTF-8) cannot be encoded, and one of them must not stop a notice.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def _answers(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{code} {_decoded(text)}" for code, text in refused.values())


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_decoded(error.smtp_error)}"
    return one_line(str(error) or type(error).__name__)


def _decoded(answer: bytes | str) -> str:
    return one_line(answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer))
