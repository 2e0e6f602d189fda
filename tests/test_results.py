"""What the gathering pages tell of the benchmarks is what their results say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import _overview

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


@pytest.mark.parametrize("name", list(_overview.PAGES))
def test_a_gathering_page_tells_what_the_results_say(name: str) -> None:
    text, file = _overview.page(name, RESULTS), RESULTS / f"{name}.md"
    assert (text is None) == (not file.exists()), "run tests.benchmarks._overview.write, or a benchmark of the page"
    assert text is None or file.read_text(encoding="utf-8") == text


def test_a_page_of_which_nothing_was_measured_is_not_written(tmp_path: Path) -> None:
    _overview.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
