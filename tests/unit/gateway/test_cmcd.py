from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import cmcd
from tonewatch.errors import PayloadError

GOOD = (
    'bl=4200,br=128,bsd=0,cdn="edge-1",cid="ch1",e=t,ltc=6100,mtp=2400,sf=h,'
    'sid="6e2fb550-c457-11e9-bb97-0800200c9a66",sn=7,st=l,sta=p,ts=1790000000123,v=2'
)


def without(key: str) -> str:
    return ",".join(pair for pair in GOOD.split(",") if not pair.startswith(f"{key}="))


def encode(values: dict[str, cmcd.Value]) -> str:
    """A small encoder: the other half of the round trip."""
    pairs = []
    for key, value in values.items():
        if value is True:
            pairs.append(key)
        elif value is False:
            pairs.append(f"{key}=?0")
        elif isinstance(value, str) and key in cmcd._TOKENS:
            pairs.append(f"{key}={value}")
        elif isinstance(value, str):
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            pairs.append(f'{key}="{quoted}"')
        else:
            pairs.append(f"{key}={value}")
    return ",".join(pairs)


printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
values = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.integers(0, cmcd.MAX_INTEGER) for key in sorted(cmcd._INTEGERS)},
        **dict.fromkeys(sorted(cmcd._STRINGS), printable),
        **{key: st.from_regex(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,20}", fullmatch=True) for key in cmcd._TOKENS},
        **{key: st.booleans() for key in sorted(cmcd._BOOLEANS)},
    },
).filter(bool)


@given(values)
def test_what_is_encoded_is_parsed_as_it_was(given_values: dict[str, cmcd.Value]) -> None:
    assert cmcd.parse(encode(given_values)) == given_values


@given(st.text(max_size=300))
def test_arbitrary_text_raises_nothing_but_payload_errors(text: str) -> None:
    with suppress(PayloadError):
        cmcd.parse(text)
    with suppress(PayloadError):
        cmcd.read(text)


@given(st.text(alphabet='abcdeglnprstuv0123456789=,";?()-.\\* \t\u00e9', max_size=80))
def test_text_near_the_grammar_raises_nothing_but_payload_errors(text: str) -> None:
    with suppress(PayloadError):
        cmcd.read(GOOD + "," + text)


def test_a_whole_beacon_is_read() -> None:
    beacon = cmcd.read(GOOD)
    assert (beacon.channel, beacon.edge, beacon.event, beacon.state) == ("ch1", "edge-1", "t", "p")
    assert beacon.time == datetime.fromtimestamp(1_790_000_000, UTC).replace(microsecond=123_000)
    assert (beacon.buffer_ms, beacon.latency_ms, beacon.throughput_kbps, beacon.bitrate_kbps) == (4200, 6100, 2400, 128)
    assert (beacon.sequence, beacon.starved_ms, beacon.startup_ms) == (7, 0, None)


@pytest.mark.parametrize("key", ["sid", "cid", "ts", "sn", "e"])
def test_a_beacon_without_a_needed_key_is_refused(key: str) -> None:
    with pytest.raises(PayloadError, match=f"{key} is missing"):
        cmcd.read(without(key))


@pytest.mark.parametrize("key", ["bsd", "ltc", "bl", "msd"])
def test_a_beacon_with_a_negative_duration_is_refused(key: str) -> None:
    with pytest.raises(PayloadError, match=f"{key} is negative: a duration cannot be"):
        cmcd.read(f"{without(key)},{key}=-1")


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("bl=1.5", "bl must be a whole number"),
        ("bl", "bl must be a whole number"),
        ('bl="12"', "bl must be a whole number"),
        ("bl=twelve", "bl must be a whole number"),
        ("bl=999999999999999", "bl is too large"),
        ("cdn=edge-1", "cdn must be a string in quotes"),
        ('cdn="../etc"', "cdn must be a name"),
        ('cdn=""', "cdn must be a name"),
        ('sta="p"', "sta must be a word without quotes"),
        ("sta=z", "sta must be one of"),
        ("bs=1", "bs must be true or absent"),
        ("ltc=1,ltc=1", "ltc is given twice"),
        ('cdn="edge', "no value"),
        ("=5", "a key is missing"),
        ("BL=5", "a key is missing"),
        ("bl=5 ", "a comma is missing"),
        ("", "a key is missing"),
        ('cdn="edge\u00e9"', "no value"),
        ("bl=" + "9" * 5000, "longer than"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_a_reason(pair: str, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        cmcd.read(f"{without(pair.partition('=')[0])},{pair}")


def test_a_time_before_2000_is_refused() -> None:
    with pytest.raises(PayloadError, match="ts must be"):
        cmcd.read(f"{without('ts')},ts=12")


@pytest.mark.parametrize(
    "pair", ['com.example-thing="x"', "x-y=1.5", "nor", "rc=(200 404)", "newkey=token", 'nor="..%2Fa.mp4"', "pr=1.02"]
)
def test_keys_that_are_not_known_are_read_past(pair: str) -> None:
    assert cmcd.read(f"{GOOD},{pair}") == cmcd.read(GOOD)


@pytest.mark.parametrize(("text", "expected"), [("(128;v 96;a)", 96), ("(64)", 64), ("(64;a)", 64), ("(64;v)", 64)])
def test_a_number_as_list_is_read_as_the_audio_item(text: str, expected: int) -> None:
    assert cmcd.parse(f"br={text}") == {"br": expected}


def test_an_empty_list_is_no_number() -> None:
    with pytest.raises(PayloadError, match="br must be a whole number"):
        cmcd.parse("br=()")


def test_a_string_with_escapes_is_unescaped() -> None:
    assert cmcd.parse(r'sid="a\"b\\c"') == {"sid": 'a"b\\c'}


def test_no_reason_and_no_repr_tells_the_session() -> None:
    secret = "6e2fb550-c457-11e9-bb97-0800200c9a66"  # the id in GOOD
    assert secret not in repr(cmcd.read(GOOD))
    for line in (f'sid="{secret}",cid=5', f'{GOOD},sid="{secret}"', f"sid={secret}", f'{secret}="a"'):
        with pytest.raises(PayloadError) as raised:
            cmcd.read(line)
        assert secret not in str(raised.value)


ARRIVED = datetime(2026, 9, 21, 14, 13, 20, 123456, tzinfo=UTC)
REQUEST = 'bl=4200,br=128,cid="ch1",d=4000,mtp=2400,ot=a,sf=h,sid="6e2f",st=l'


def in_headers(text: str, places: list[int]) -> dict[str, str]:
    """The keys of a string, one after the other into one of the four headers."""
    found: dict[str, list[str]] = {}
    for number, pair in enumerate(text.split(",")):
        found.setdefault(cmcd.HEADERS[places[number % len(places)] % 4], []).append(pair)
    return {name: ",".join(pairs) for name, pairs in found.items()}


#: Without commas, at which the test itself cuts.
plain_values = values.map(lambda held: {k: v.replace(",", ";") if isinstance(v, str) else v for k, v in held.items()})


@given(plain_values, st.lists(st.integers(0, 3), min_size=1))
def test_query_headers_and_lines_say_the_same_for_the_same_keys(
    given_values: dict[str, cmcd.Value], places: list[int]
) -> None:
    line = encode(given_values)
    query = cmcd.of_query(b"x=1&CMCD=" + quote(line, safe="").encode() + b"&y")
    headers = cmcd.of_headers(in_headers(line, places))
    assert query == line
    assert headers is not None
    assert cmcd.parse(line) == cmcd.parse(headers) == given_values


@given(st.lists(st.integers(0, 3), min_size=1), st.sampled_from([GOOD, without("cdn"), without("ltc")]))
def test_a_report_is_the_same_beacon_in_every_mode(places: list[int], line: str) -> None:
    beacon = cmcd.read(line)
    assert cmcd.read_request(cmcd.of_query(b"CMCD=" + quote(line).encode()) or "", ARRIVED) == beacon
    assert cmcd.read_request(cmcd.of_headers(in_headers(line, places)) or "", ARRIVED) == beacon


def test_without_a_time_a_request_is_of_its_arrival_and_without_a_sequence_each_arrival_is_one() -> None:
    beacon = cmcd.read_request(REQUEST, ARRIVED)
    assert (beacon.time, beacon.event, beacon.state) == (ARRIVED, cmcd.REQUEST, "p")
    assert (beacon.buffer_ms, beacon.bitrate_kbps, beacon.throughput_kbps) == (4200, 128, 2400)
    later = cmcd.read_request(REQUEST, ARRIVED + timedelta(microseconds=1))
    assert cmcd.MAX_INTEGER < beacon.sequence < later.sequence < 2**63
    timed = cmcd.read_request(f"{REQUEST},ts=1790000000123,sn=7", ARRIVED)
    assert (timed.time, timed.sequence) == (datetime(2026, 9, 21, 14, 13, 20, 123000, tzinfo=UTC), 7)


def test_the_same_request_id_is_the_same_report() -> None:
    first, again, other = (
        cmcd.read_request(REQUEST, ARRIVED + timedelta(seconds=n), request_id).sequence
        for n, request_id in enumerate(["a", "a", "b"])
    )
    assert first == again != other
    assert cmcd.MAX_INTEGER < other < 2**63


@pytest.mark.parametrize(("key", "state"), [("bs", "r"), ("su", "s"), ("bs,su", "r"), ("sta=a", "a"), ("nr", "p")])
def test_what_a_player_does_that_does_not_say_it_follows_from_what_it_asks_for(key: str, state: str) -> None:
    assert cmcd.read_request(f"{REQUEST},{key}", ARRIVED).state == state


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (b"CMCD=bl%3D1&CMCD=bl%3D2", "twice"),
        (b"CMCD=%C3%BC", "beyond ASCII"),
        (b"CMCD=", "a key is missing"),
        (b"CMCD=bl%3D1", "sid is missing"),
        (b"CMCD=sid%3D%22a%22", "cid is missing"),
        (b"CMCD=" + b"x" * 5000, "longer than"),
        (b'CMCD=cid="a b",sid="c"', "cid must be a name"),
    ],
)
def test_a_query_with_a_fault_says_which(query: bytes, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        cmcd.read_request(cmcd.of_query(query) or "", ARRIVED)


def test_a_plus_in_a_query_is_a_plus_and_no_cmcd_is_none() -> None:
    assert cmcd.of_query(b'CMCD=sid="a+b"') == 'sid="a+b"'
    assert cmcd.of_query(b"cmcd=bl%3D1&x") is None
    assert cmcd.of_headers({"x-cmcd-object": "bl=1"}) is None
    assert cmcd.of_headers({"cmcd-object": "bl=1", "cmcd-status": " "}) == "bl=1"


def test_a_key_in_two_headers_is_given_twice() -> None:
    told = cmcd.of_headers({"cmcd-object": 'bl=1,cid="c"', "cmcd-request": 'bl=2,sid="s"'})
    with pytest.raises(PayloadError, match="bl is given twice"):
        cmcd.read_request(told or "", ARRIVED)
