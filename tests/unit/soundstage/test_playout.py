from __future__ import annotations

import pytest

from soundstage.playout import PATIENCE_S, RESUME_S, Piece, Playout


def playing(seconds: float = 4.0) -> Playout:
    playout = Playout(now=0.0)
    playout.add(Piece(1_000.0, seconds), now=0.5)
    return playout


def test_start_up_within_patience_costs_nothing() -> None:
    playout = playing()
    playout.advance(2.0)
    assert playout.startup_s == 0.5
    assert playout.absent_s(2.0) == 0.0
    assert playout.changed == []


def test_start_up_beyond_patience_counts_from_there() -> None:
    playout = Playout(now=0.0)
    playout.advance(7.0)
    assert playout.starved
    assert playout.absent_s(7.0) == pytest.approx(7.0 - PATIENCE_S)
    playout.add(Piece(1_000.0, 2.0), now=8.0)
    assert playout.absent_s(9.0) == pytest.approx(6.0)
    assert [(absence.kind, absence.start, absence.end) for absence in playout.changed[-1:]] == [("startup", 2.0, 8.0)]


def test_position_follows_the_clock() -> None:
    playout = playing()
    playout.advance(2.0)
    assert playout.position == pytest.approx(1_001.5)
    assert playout.buffered_s == pytest.approx(2.5)


def test_stall_begins_when_the_sound_ran_out_however_late_that_is_noticed() -> None:
    """The clock runs on while a request hangs: nobody looked for ten seconds, the stall began after four."""
    playout = playing(4.0)
    playout.advance(10.0)
    assert playout.state == "stalled"
    assert playout.changed[-1].start == pytest.approx(4.5)
    assert playout.absent_s(10.0) == pytest.approx(5.5)


def test_piece_that_comes_after_a_long_hang_does_not_hide_the_stall() -> None:
    playout = playing(4.0)
    playout.add(Piece(1_004.0, 4.0), now=10.0)
    assert playout.stalls == 1
    assert playout.absent_s(10.0) == pytest.approx(5.5)
    assert playout.state == "playing"


def test_stall_ends_only_with_enough_sound_to_go_on() -> None:
    playout = playing(1.0)
    playout.add(Piece(1_001.0, RESUME_S - 0.1), now=3.0)
    assert playout.state == "stalled"
    playout.add(Piece(1_004.4, 1.0), now=4.0)
    assert playout.state == "playing"
    assert playout.changed[-1].end == 4.0


def test_looking_often_or_seldom_gives_the_same_loss() -> None:
    often, seldom = playing(2.0), playing(2.0)
    for step in range(1, 100):
        often.advance(step * 0.1)
    for playout in (often, seldom):
        playout.add(Piece(1_002.0, 5.0), now=10.0)
    assert often.absent_s(12.0) == pytest.approx(seldom.absent_s(12.0))
    assert often.position == pytest.approx(seldom.position)


def test_listener_who_leaves_is_owed_nothing_more() -> None:
    playout = playing(1.0)
    playout.leave(5.0)
    assert playout.absent_s(100.0) == pytest.approx(3.5)
    assert playout.changed[-1].end == 5.0


def test_sound_that_plays_is_not_dropped() -> None:
    playout = playing(4.0)
    playout.drop()
    assert playout.buffered_s == pytest.approx(4.0)


def heard(pieces: list[Piece], step_s: float, until: float) -> list[tuple[str, float, float | None]]:
    playout = Playout(now=0.0)
    for piece in pieces:
        playout.add(piece, now=0.0)
    now = 0.0
    while now < until:
        now += step_s
        playout.advance(now)
    found = {change.id: change for change in playout.changed if change.kind == "silence"}
    return [(change.kind, round(change.start, 6), change.end and round(change.end, 6)) for change in found.values()]


@pytest.mark.parametrize("step_s", [0.1, 0.25, 5.0])
def test_silence_over_several_pieces_is_one_absence_from_its_beginning(step_s: float) -> None:
    pieces = [
        Piece(0.0, 2.0, ((1.5, 2.0),)),
        Piece(2.0, 2.0, ((0.0, 2.0),)),
        Piece(4.0, 2.0, ((0.0, 0.5),)),
        Piece(6.0, 2.0),
    ]
    assert heard(pieces, step_s, 7.0) == [("silence", 1.5, 4.5)]


def test_silence_of_two_seconds_and_less_is_music() -> None:
    pieces = [Piece(0.0, 2.0, ((0.0, 1.9),)), Piece(2.0, 2.0, ((0.1, 2.0),)), Piece(4.0, 2.0)]
    assert heard(pieces, 0.25, 5.5) == []


def test_silence_that_lasts_is_open_and_no_player_tells_of_it() -> None:
    playout = Playout(now=0.0)
    for number in range(4):
        playout.add(Piece(number * 2.0, 2.0, ((0.0, 2.0),)), now=0.0)
    playout.advance(3.0)
    assert playout.silent
    assert not playout.starved
    assert playout.absent_s(3.0) == 0.0
    assert [(change.kind, change.start, change.end) for change in playout.changed] == [("silence", 0.0, None)]


def test_silence_ends_where_the_sound_runs_out_and_where_the_listener_leaves() -> None:
    playout = Playout(now=0.0)
    playout.add(Piece(0.0, 3.0, ((0.0, 3.0),)), now=0.0)
    playout.advance(2.5)
    playout.advance(4.0)
    assert [(change.kind, change.start, change.end) for change in playout.changed[-2:]] == [
        ("silence", 0.0, 3.0),
        ("stall", 3.0, None),
    ]
    leaving = Playout(now=0.0)
    leaving.add(Piece(0.0, 9.0, ((0.0, 9.0),)), now=0.0)
    leaving.leave(4.0)
    assert [(change.kind, change.end) for change in leaving.changed] == [("silence", 4.0), ("silence", 4.0)]
