"""Shows that no guardrail is decorative: `make guards`.

All fault tests must be green with every guard in force; then, one guard after another switched off, each of that
guard's fault tests must fail. Prints a table, writes docs/results/guards.json, and ends with 1 if anything is
otherwise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

HOUSE = Path(__file__).resolve().parents[2]
RESULT = HOUSE / "docs" / "results" / "guards.json"


def outcomes(*arguments: str) -> dict[str, str]:
    """How each chosen fault test ended: passed, failed (an assertion), broken (anything else) or skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        run = subprocess.run(
            [*command, "tests/guardrails", *arguments], cwd=HOUSE, capture_output=True, text=True, check=False
        )
        if not report.is_file():
            raise SystemExit(f"pytest gave no report:\n{run.stdout}{run.stderr}")
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {f"{case.get('classname')}::{case.get('name')}": _ended(case) for case in cases}


def _ended(case: ElementTree.Element) -> str:
    for child in case:
        if child.tag == "failure":
            return "failed" if (child.get("message") or "").startswith(("AssertionError", "assert ")) else "broken"
        if child.tag in {"error", "skipped"}:
            return {"error": "broken"}.get(child.tag, child.tag)
    return "passed"


def row(number: int, name: str, in_force: Mapping[str, str]) -> dict[str, object]:
    """One guard's fault tests, with it (as they ended when all were in force) and without it."""
    off = outcomes("--guard", name, "--guard-off", name)
    green = sum(in_force.get(test) == "passed" for test in off)
    red = sum(ended == "failed" for ended in off.values())
    return {
        "number": number,
        "guard": name,
        "fault_tests": len(off),
        "green_with_it": green,
        "red_without_it": red,
        "proven": 0 < len(off) == green == red,
    }


def main(names: Sequence[str]) -> int:
    """Prove the guards named, or all."""
    sys.path.insert(0, str(HOUSE))
    from policy.guardrails import GUARDS

    whole = outcomes()
    counted = Counter(whole.values())
    green = set(counted) == {"passed"}
    print(f"all guards in force: {', '.join(f'{count} {word}' for word, count in sorted(counted.items()))}", flush=True)
    print(f"{'no':>3} {'guard':<20} {'fault tests':>11} {'green with it':>14} {'red without it':>15}")
    rows = []
    for guard in sorted(GUARDS, key=lambda guard: guard.number):
        if names and guard.name not in names:
            continue
        found = row(guard.number, guard.name, whole)
        rows.append(found)
        line = f"{guard.number:>3} {guard.name:<20} {found['fault_tests']:>11} {found['green_with_it']:>14}"
        print(f"{line} {found['red_without_it']:>15} {'' if found['proven'] else ' DECORATIVE?'}", flush=True)
    proven = green and all(found["proven"] for found in rows)
    if not names:
        result = {"all_green": green, "tests": len(whole), "guards": rows, "proven": proven}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"written to {RESULT.relative_to(HOUSE)}")
    print("every guard stops its faults, and nothing else does" if proven else "NOT PROVEN: see above")
    return 0 if proven else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
