"""Common Media Client Data (CTA-5004, versions 1 and 2): `key=value,...` strings, a line each in event mode, or in the
query or the headers of a request.

Pure: text in, a typed Beacon out. A reason never repeats a value, since values carry session ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote_to_bytes

from tonewatch.errors import PayloadError

#: Longest line that is read, in characters.
MAX_LINE: Final = 4096
#: Largest number that a player can mean: milliseconds of ten years, which any store holds.
MAX_INTEGER: Final = 10 * 366 * 86_400_000
_EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01: a clock before it was never set
_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01

Value = bool | int | float | str

_KEY = re.compile(r"[a-z][a-z0-9_.*-]{0,63}")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\["\\])*)"')
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,3})?")
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,255}")
_LIST = re.compile(r"\(([^()\"]{0,512})\)")
_ESCAPE = re.compile(r"\\(.)")
_PARAMETER = re.compile(r"(?:;[a-z*][a-z0-9_.*-]{0,63}(?:=[A-Za-z0-9.*_-]{1,64})?)*")

#: What each key that we know of must be. Keys that are not listed are read past, whatever they hold.
_INTEGERS = frozenset({"bl", "bsd", "br", "d", "dl", "ltc", "msd", "mtp", "pt", "rtp", "sn", "tb", "tbl", "ts", "v"})
_STRINGS = frozenset({"cdn", "cid", "sid"})
_TOKENS = frozenset({"e", "ot", "sf", "st", "sta"})
_BOOLEANS = frozenset({"bg", "bs", "nr", "su"})
_DURATIONS = frozenset({"bl", "bsd", "d", "dl", "ltc", "msd", "pt", "tbl"})

_EVENTS = frozenset(
    {"abe", "abs", "ae", "as", "b", "bc", "c", "ce", "e", "h", "m", "pc", "pe", "ps", "rr", "sk", "t", "um"}
)
#: What a report of a request is about: no event of the player's. Its time may be that of its arrival.
REQUEST: Final = "request"
#: Where header mode puts the keys: which key goes where is the player's affair, and is not checked.
HEADERS: Final = ("cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status")
#: A sequence that no player counts up to: one that stands for a report without `sn`.
_UNCOUNTED: Final = 1 << 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = frozenset({"a", "d", "e", "f", "k", "p", "q", "r", "s", "w"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Beacon:
    """One report of one player. Times in ms; `session` is the raw id and must not leave the gateway's memory."""

    session: str
    channel: str  # content id, e.g. ch1
    edge: str  # e.g. edge-1, or ""
    time: datetime
    event: str
    state: str
    sequence: int
    starved_ms: int = 0
    startup_ms: int | None = None
    latency_ms: int | None = None
    buffer_ms: int | None = None
    throughput_kbps: int | None = None
    bitrate_kbps: int | None = None

    def __repr__(self) -> str:  # a log line or a traceback must not show the session
        return f"Beacon(channel={self.channel!r}, event={self.event!r}, sequence={self.sequence})"


def parse(text: str) -> dict[str, Value]:
    """Keys and values of one CMCD string; unknown keys are left out.

    Raises PayloadError: too long, not of the form, a key given twice, or a value of the wrong type.
    """
    if len(text) > MAX_LINE:
        raise PayloadError(f"longer than {MAX_LINE} characters")
    found: dict[str, Value] = {}
    position = 0
    while True:
        key, value, position = _pair(text, position)
        if key in found:
            raise PayloadError(f"{key} is given twice")
        if value is not None:
            found[key] = value
        if position == len(text):
            return found
        if text[position] != ",":
            raise PayloadError(f"a comma is missing at character {position + 1}")
        position += 1


def read(line: str) -> Beacon:
    """One line of a beacon's body.

    Raises PayloadError: the line is no CMCD, a key that is needed is missing, or a value is out of its range.
    """
    values = parse(line)
    _need(values, "sid", "cid", "ts", "sn", "e")
    return _beacon(values)


def read_request(text: str, arrived: datetime, request_id: str = "") -> Beacon:
    """What a request says of its player, in its query or its headers.

    Without `ts` the time is that of its arrival; without `sn` the same `request_id` again is the same report, and
    where there is none each arrival is one. Without `sta` the player starves with `bs`, starts with `su`, else plays:
    who asks for media wants sound. Raises PayloadError as `read`.
    """
    values = parse(text)
    _need(values, "sid", "cid")
    inferred = "r" if values.get("bs") else "s" if values.get("su") else "p"
    beacon = _beacon({"sta": inferred, "e": "t", **values}, arrived)
    sequence = beacon.sequence if "sn" in values else _uncounted(arrived, request_id)
    return replace(beacon, sequence=sequence, event=beacon.event if "e" in values else REQUEST)


def of_query(query: bytes) -> str | None:
    """The CMCD in a query, percent-encoded as it is there; None: there is none.

    Raises PayloadError: given twice, or it is not ASCII.
    """
    pairs = [pair.partition(b"=") for pair in query.split(b"&")]
    found = [value for name, _, value in pairs if unquote_to_bytes(name) == b"CMCD"]
    if len(found) > 1:
        raise PayloadError("CMCD is given twice in the query")
    return ascii_text(unquote_to_bytes(found[0])) if found else None


def of_headers(headers: Mapping[str, str]) -> str | None:
    """The CMCD in a request's headers, by their names in small letters; None: there is none."""
    found = [headers[name].strip() for name in HEADERS if name in headers]
    return ",".join(filter(None, found)) if found else None


def ascii_text(line: bytes) -> str:
    """Raises PayloadError: CMCD is ASCII."""
    try:
        return line.decode("ascii")
    except UnicodeDecodeError:
        raise PayloadError("a byte beyond ASCII: CMCD is ASCII") from None


def _need(values: Mapping[str, Value], *keys: str) -> None:
    for key in keys:
        if key not in values:
            raise PayloadError(f"{key} is missing")


def _beacon(values: Mapping[str, Value], arrived: datetime | None = None) -> Beacon:
    return Beacon(
        session=_text(values, "sid", 128),
        channel=_name(values, "cid"),
        edge=_name(values, "cdn") if "cdn" in values else "",
        time=arrived if arrived is not None and "ts" not in values else _time(values),
        event=_one_of(values, "e", _EVENTS),
        state=_one_of(values, "sta", _STATES) if "sta" in values else "",
        sequence=_count(values, "sn") or 0,
        starved_ms=_count(values, "bsd") or 0,
        startup_ms=_count(values, "msd"),
        latency_ms=_count(values, "ltc"),
        buffer_ms=_count(values, "bl"),
        throughput_kbps=_count(values, "mtp"),
        bitrate_kbps=_count(values, "br"),
    )


def _uncounted(arrived: datetime, request_id: str) -> int:
    # Nothing of the session is in it: without a key, a hash of that could be tried out.
    if not request_id:
        return _UNCOUNTED | (arrived - _EPOCH) // timedelta(microseconds=1)
    digest = blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest()
    return _UNCOUNTED | int.from_bytes(digest) >> 2


def _pair(text: str, position: int) -> tuple[str, Value | None, int]:
    match = _KEY.match(text, position)
    if match is None:
        raise PayloadError(f"a key is missing at character {position + 1}")
    key, position = match.group(), match.end()
    if position == len(text) or text[position] != "=":
        return key, _typed(key, True), position  # a key alone means true
    value, position = _value(text, position + 1)
    return key, _typed(key, value), position


def _value(text: str, position: int) -> tuple[Value | None, int]:
    if match := _STRING.match(text, position):
        return _ESCAPE.sub(r"\1", match.group(1)), match.end()
    if match := _LIST.match(text, position):
        return _first_of(match.group(1)), match.end()
    if match := _NUMBER.match(text, position):
        return _number(match.group()), match.end()
    if text.startswith(("?0", "?1"), position):
        return text[position + 1] == "1", position + 2
    if match := _TOKEN.match(text, position):
        return _Token(match.group()), match.end()
    raise PayloadError(f"no value at character {position + 1}")


class _Token(str):
    """A word without quotes, which is another type than the same word in quotes."""

    __slots__ = ()


def _first_of(inner: str) -> Value | None:
    # Version 2 writes most numbers as lists, one item per kind of object: audio (;a) is ours, else the first.
    items = inner.split()
    chosen = next((item for item in items if ";a" in item), items[0] if items else "")
    number = _NUMBER.match(chosen)
    if number is None or not _PARAMETER.fullmatch(chosen, number.end()):
        return None
    return _number(number.group())


def _number(text: str) -> Value:
    return float(text) if "." in text else int(text)


def _typed(key: str, value: Value | None) -> Value | None:
    if key in _INTEGERS:
        return _integer(key, value)
    if key in _TOKENS and not isinstance(value, _Token):
        raise PayloadError(f"{key} must be a word without quotes")
    if key in _STRINGS and (not isinstance(value, str) or isinstance(value, _Token)):
        raise PayloadError(f"{key} must be a string in quotes")
    if key in _BOOLEANS and not isinstance(value, bool):
        raise PayloadError(f"{key} must be true or absent")
    known = key in _TOKENS or key in _STRINGS or key in _BOOLEANS
    return (str(value) if isinstance(value, _Token) else value) if known else None


def _integer(key: str, value: Value | None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PayloadError(f"{key} must be a whole number")
    if value < 0:
        raise PayloadError(f"{key} is negative: a {'duration' if key in _DURATIONS else 'count'} cannot be")
    if value > MAX_INTEGER and key != "ts":
        raise PayloadError(f"{key} is too large")
    return value


def _count(values: Mapping[str, Value], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) else None


def _text(values: Mapping[str, Value], key: str, longest: int) -> str:
    value = str(values[key])
    if not value or len(value) > longest:
        raise PayloadError(f"{key} must have 1 to {longest} characters")
    return value


def _name(values: Mapping[str, Value], key: str) -> str:
    value = str(values[key])
    if not _NAME.fullmatch(value):
        raise PayloadError(f"{key} must be a name of 1 to 64 letters, digits, '.', '_' and '-'")
    return value


def _one_of(values: Mapping[str, Value], key: str, allowed: frozenset[str]) -> str:
    value = str(values[key])
    if value not in allowed:
        raise PayloadError(f"{key} must be one of {', '.join(sorted(allowed))}")
    return value


def _time(values: Mapping[str, Value]) -> datetime:
    milliseconds = _count(values, "ts") or 0
    if not _EARLIEST_MS <= milliseconds < _LATEST_MS:
        raise PayloadError("ts must be milliseconds since 1970, between the years 2000 and 2100")
    seconds, rest = divmod(milliseconds, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
