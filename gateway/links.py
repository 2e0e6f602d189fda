"""Signed links by which who got a notice answers it with one click: what one says, and that nobody but us wrote it.

In the outbox a notice holds places for links, not links: they are written as it leaves, one for each addressee, so that
no table holds what would act in somebody's name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from tonewatch.errors import PayloadError
from tonewatch.records import ActKind, Notice, digest

#: How long a link is good, from when its notice was made.
LASTS: Final = timedelta(hours=24)
#: In place of an incident: a model that waits to be champion, by the id of its promotion; and how long it waits.
MODELS: Final = "promotion:"
MODELS_WAIT: Final = timedelta(days=3)
#: What people can do by a link; closing asks for more than a button.
ACTS: Final = (ActKind.ACK, ActKind.APPROVE, ActKind.VETO, ActKind.REAL, ActKind.FALSE, ActKind.NOT_THE_CAUSE)
#: Under this a notice holds its places for links.
HEADING: Final = "With one click"
_PLACE = re.compile(rf"tonewatch-link:({'|'.join(ACTS)}):([0-9a-f]{{32}}|)")
_SECTION = re.compile(rf"\n?{HEADING}\n(?:  .*\n)*")
_RICH_SECTION = re.compile(rf"<h3>{HEADING}</h3><ul>.*?</ul>")
_PURPOSE: Final = b"tonewatch links of notices, 1"
#: What the name of a person may have (warehouse/acts.py).
_LONGEST_NAME: Final = 100
_LONGEST: Final = 2048


@dataclass(frozen=True, slots=True)
class Link:
    """What a link does: `act` on the incident, or on its action of that key, in the name of `who`.

    incident: MODELS and an id stand for a model that waits to be champion.
    """

    tenant: str
    incident: str
    action: str
    act: ActKind
    who: str
    expires: datetime

    @property
    def id(self) -> str:
        """Names it without giving it away; by this it is used once."""
        return digest(*astuple(self))


class Signer:
    """Writes tokens and reads them. `root_key`: the stack's; the key of links is derived from it."""

    def __init__(self, root_key: bytes) -> None:
        self._key = hmac.digest(root_key, _PURPOSE, hashlib.sha256)

    def token(self, link: Link) -> str:
        """The link as it stands in an address."""
        fields = [link.tenant, link.incident, link.action, link.act.value, link.who, int(link.expires.timestamp())]
        written = json.dumps(fields, separators=(",", ":")).encode()
        return f"{_encoded(written)}.{_encoded(self._mark(written))}"

    def read(self, token: str) -> Link:
        """What the token says. Raises PayloadError: it is none of ours. Whether it has expired, the caller sees."""
        said, _, mark = token.partition(".")
        try:
            if len(token) > _LONGEST:
                raise ValueError
            written = _decoded(said)
            if not hmac.compare_digest(_decoded(mark), self._mark(written)):
                raise ValueError
        except ValueError:
            raise PayloadError("this link is none of ours, or a part of it is missing") from None
        tenant, incident, action, act, who, expires = json.loads(written)
        return Link(tenant, incident, action, ActKind(act), who, datetime.fromtimestamp(expires, UTC))

    def _mark(self, written: bytes) -> bytes:
        return hmac.digest(self._key, written, hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Links:
    """Writes links into notices; `gateway_url` is where the gateway is reached from outside."""

    signer: Signer
    gateway_url: str

    def address(self, link: Link) -> str:
        """The link's whole address."""
        return f"{self.gateway_url.rstrip('/')}/v1/links/{self.signer.token(link)}"

    def of(self, notice: Notice, who: str) -> list[tuple[ActKind, str]]:
        """The addresses of the notice's links for `who`, in their order; none without the time it was made."""
        return [(ActKind(act), self._for(notice, who, act, action)) for act, action in _PLACE.findall(notice.body)]

    def filled(self, notice: Notice, who: str) -> Notice:
        """The notice as `who` gets it."""

        def written(show: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
            return lambda found: show(self._for(notice, who, found[1], found[2]))

        body = _PLACE.sub(written(str), notice.body)
        page = _PLACE.sub(written(lambda url: f'<a href="{html.escape(url)}">open</a>'), notice.html)
        return replace(notice, body=body, html=page)

    def _for(self, notice: Notice, who: str, act: str, action: str) -> str:
        made = notice.created or datetime.fromtimestamp(0, UTC)
        lasts = MODELS_WAIT if notice.incident.startswith(MODELS) else LASTS
        expires = (made + lasts).replace(microsecond=0)
        return self.address(Link(notice.tenant, notice.incident, action, ActKind(act), who, expires))


def place(act: ActKind, action: str = "") -> str:
    """What stands in a text where a link for `act` is to be written; `action`: the key of an action, or empty."""
    return f"tonewatch-link:{act}:{action}"


def has_places(notice: Notice) -> bool:
    """Whether links are to be written into the notice."""
    return _PLACE.search(notice.body) is not None


def may_act(who: str) -> bool:
    """Whether `who` can be the author of an act."""
    return len(who) <= _LONGEST_NAME


def without(notice: Notice) -> Notice:
    """The notice for who gets no links: the commands in it do the same."""
    return replace(notice, body=_SECTION.sub("", notice.body), html=_RICH_SECTION.sub("", notice.html))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
