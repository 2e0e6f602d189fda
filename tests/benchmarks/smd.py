"""SMD: server machines, 38 series every minute; the ensemble for rows beside baselines of the same run.

`make bench NAME=smd ARGS="--json docs/results/smd.json --check-vus"`, with DATA=folder for other machines.
--check-vus makes an environment of its own for a while and puts our VUS-PR beside the package TSB-AD's.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ml.detectors.base import Floats
from tests.benchmarks import _machines, _points
from tests.benchmarks._published import publish, say

#: Three days of minutes.
RECENT = 4320
#: TSB-AD's curation left these out; only told apart, nothing else depends on a machine's name.
DROPPED = {"machine-1-6", "machine-1-8", "machine-2-4", "machine-2-5", "machine-3-3", "machine-3-5"}
GOALS = {
    "auc_pr_gain": "must > 0, goal 0.06",
    "vus_pr_gain": "must > 0, goal 0.06",
    "f1_gain": "must > 0, goal 0.06",
    "f1_auto": "must 0.37, goal 0.50",
}
#: Run by the other environment: scores and labels in, VUS-PR out.
THEIRS = """
import json, sys, numpy
from TSB_AD.evaluation.basic_metrics import generate_curve
for path in sys.argv[3:]:
    held = numpy.load(path)
    found = generate_curve(held["labels"].astype(int), held["scores"], int(sys.argv[1]), "opt", int(sys.argv[2]))[-1]
    print(json.dumps(float(found)), flush=True)
"""


def checked(among: Sequence[_machines.Machine], scores: Sequence[Floats]) -> dict[str, Any]:
    """Our VUS-PR and TSB-AD's on the same scores; the package is brought for this and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tonewatch-vus-") as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        # its own list of needs asks for numpy below 2, torch and transformers, which the metrics never import
        for needs in (["--no-deps", "TSB-AD"], ["numpy", "pandas", "scikit-learn", "statsmodels", "matplotlib"]):
            said = subprocess.run([python, "-m", "pip", "install", "-q", *needs], capture_output=True, text=True)
            if said.returncode:
                raise SystemExit(f"TSB-AD could not be brought: {said.stderr[-500:]}")
        paths = []
        for machine, score in zip(among, scores, strict=True):
            paths.append(folder / f"{machine.name}.npz")
            np.savez(paths[-1], labels=machine.labels, scores=score)
        command = [python, "-c", THEIRS, str(_points.VUS_BUFFER), str(_points.VUS_THRESHOLDS), *map(str, paths)]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True)
        version = next(each["version"] for each in json.loads(listed.stdout) if each["name"].lower() == "tsb-ad")
    theirs = [float(line) for line in said.stdout.splitlines()]
    ours = [_points.vus_pr(score, machine.labels) for machine, score in zip(among, scores, strict=True)]
    apart = float(np.max(np.abs(np.subtract(ours, theirs))))
    say(f"VUS-PR: ours and TSB-AD {version}'s are at most {apart:.2g} apart")
    return {"package": f"TSB-AD {version}", "series": len(theirs), "largest_difference": apart}


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    details = document["details"]
    checked = details["vus_check"]
    lines = [
        "# SMD",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}; seed {document['seed']}. Macro means over "
        "machines, no point adjustment. Models, weights and thresholds come from the unlabelled train halves; "
        "`f1_best` and `pa*` choose their threshold by the labels, `f1_auto`, `event_f1` and `delay_rows` (minutes) "
        "do not. "
        'Made by `make bench NAME=smd ARGS="--json docs/results/smd.json --check-vus"`.',
        "",
        *_machines.table(details["macro"], "by"),
        "",
        f"Kept by TSB-AD ({details['kept_count']} machines) and left out by it ({details['dropped_count']}), apart:",
        "",
        *_machines.table(details["groups"], "group"),
        "",
        "VUS-PR (L 100, 250 thresholds) "
        + (
            f"agrees with {checked['package']} on {checked['series']} series: at most "
            f"{checked['largest_difference']:.1e} apart."
            if checked
            else "was not put beside TSB-AD in this run (`--check-vus`)."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it and tell."""
    parser = _machines.options(__doc__ or "")
    parser.add_argument("--check-vus", action="store_true", help="put our VUS-PR beside TSB-AD's")
    options = parser.parse_args()
    began = monotonic()
    among = _machines.machines(options.data, "smd")
    by_voice, scores = _machines.told("smd", among, RECENT, options.seed)
    groups = {
        f"{voice}, {group}": _machines.macro(rows)
        for voice, told in by_voice.items()
        for group, inside in (("kept", False), ("left out", True))
        if (rows := [row for row in told if (row["machine"] in DROPPED) is inside])
    }
    dropped = sum(machine.name in DROPPED for machine in among)
    document = {
        "name": "smd",
        "figures": _machines.figures(by_voice),
        "baselines": {name: _machines.macro(rows) for name, rows in by_voice.items() if name != "ensemble"},
        "goals": GOALS,
        "details": {
            "macro": {name: _machines.macro(rows) for name, rows in by_voice.items()},
            "groups": groups,
            "kept_count": len(among) - dropped,
            "dropped_count": dropped,
            "machines": {name: _machines.rounded(rows) for name, rows in by_voice.items()},
            "vus_check": checked(among, scores) if options.check_vus else None,
        },
        "data": f"SMD, {len(among)} machines: {', '.join(machine.name for machine in among)}",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
