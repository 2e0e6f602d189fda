"""ASD: application servers, 19 series every 5 minutes; the ensemble as for SMD, beside baselines of the same run.

`make bench NAME=asd`, with DATA=folder for other machines.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from tests.benchmarks import _machines
from tests.benchmarks._published import publish

#: Three days of rows every 5 minutes, rounded to whole refreshes of the recent level.
RECENT = 840


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        "# ASD",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}; seed {document['seed']}. Macro means over "
        "machines, no point adjustment; `f1_best` and `pa*` see the labels, `f1_auto`, `event_f1` and `delay_rows` "
        "do not. Made by `make bench NAME=asd`; one configuration with "
        "[smd.md](smd.md).",
        "",
        *_machines.table(document["details"]["macro"], "by"),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it and tell."""
    options = _machines.options(__doc__ or "").parse_args()
    began = monotonic()
    among = _machines.machines(options.data, "asd")
    by_voice, _ = _machines.told("asd", among, RECENT, options.seed)
    document = {
        "name": "asd",
        "figures": _machines.figures(by_voice),
        "baselines": {name: _machines.macro(rows) for name, rows in by_voice.items() if name != "ensemble"},
        "goals": {"all": "reported beside the mean |z| of the same run"},
        "details": {
            "macro": {name: _machines.macro(rows) for name, rows in by_voice.items()},
            "machines": {name: _machines.rounded(rows) for name, rows in by_voice.items()},
        },
        "data": f"ASD, {len(among)} machines: {', '.join(machine.name for machine in among)}",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
