from __future__ import annotations

import re
from pathlib import Path

import warehouse

ROOM = Path(warehouse.__file__).parent
CLOCKS = re.compile(
    r"\bnow\s*\(|\b(current_timestamp|current_date|current_time|localtime|localtimestamp|statement_timestamp"
    r"|transaction_timestamp|clock_timestamp|timeofday)\b",
    re.IGNORECASE,
)
#: Leases: workers whose clocks differ must agree on when one ends.
LEASES = {"actions.py", "notices.py"}
#: A bound: whatever a caller's clock says, no day ends that other tenants still need.
BOUNDS = {"0004_retention.up.sql"}


def test_nothing_but_leases_and_one_bound_asks_the_database_for_the_time() -> None:
    files = [path for path in ROOM.rglob("*") if path.suffix in (".py", ".sql")]
    assert len(files) > 20
    asking = {path.name: set(CLOCKS.findall(path.read_text(encoding="utf-8"))) for path in files}
    assert {name: words for name, words in asking.items() if words and name not in LEASES | BOUNDS} == {}
    assert {name: asking[name] for name in LEASES | BOUNDS} == {key: {"clock_timestamp"} for key in LEASES | BOUNDS}


def test_the_warehouse_does_not_ask_the_machine_for_the_time_either() -> None:
    machine = re.compile(r"\.now\(|utcnow|time\.time\(|\btoday\(")
    assert [path.name for path in ROOM.rglob("*.py") if machine.search(path.read_text(encoding="utf-8"))] == []
