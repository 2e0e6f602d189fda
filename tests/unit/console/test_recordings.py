from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from console.recordings import record, replay, told_time
from tonewatch.clock import SYSTEM
from tonewatch.errors import RecordingError, SettingsError


@pytest.mark.parametrize("text", ["2026-07-06T12:00", "2026-07-06T12:00Z", "2026-07-06T14:00+02:00"])
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert told_time(text, "--from") == datetime(2026, 7, 6, 12, tzinfo=UTC)


def test_what_is_no_time_is_refused_with_an_example() -> None:
    with pytest.raises(SettingsError, match="--to: 'noon' is no time; write it as 2026-"):
        told_time("noon", "--to")


def test_the_future_cannot_be_recorded(tmp_path: Path) -> None:
    later = (SYSTEM.now() + timedelta(hours=1)).isoformat()
    with pytest.raises(RecordingError, match="still to come"):
        record("2026-07-06", later, tmp_path / "a", None, False, None)
    assert not (tmp_path / "a").exists()


def test_what_is_no_recording_is_not_replayed(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is no recording"):
        replay(tmp_path, None, "platform", None, False)
