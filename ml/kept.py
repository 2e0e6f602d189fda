"""Models as a watcher last fetched them, in a folder of its own: who judges where it starts while the registry is away.

A model lies in a folder that gets its name when it is whole, with the tags that it is registered with; its hash is
among them, and it is read as any artefact is. `judging.json` says which versions judge, and which did before: others
are removed. What is lost or damaged is as if it had never been kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

from ml.kinds import model_name, parsed
from tonewatch.errors import ModelError
from tonewatch.records import digest

MODEL, ABOUT, JUDGING = "model", "about.json", "judging.json"
#: Who judges, and the one before, in whose place it came.
KEPT = 2
#: Of what is being written.
_UNFINISHED = ".new-"


def put(folder: Path, family: str, version: str, artefact: Path, tags: Mapping[str, str]) -> None:
    """Keep a copy of an artefact whose hash was verified. Raises OSError: there is no room, or no right to write."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, unfinished = folder / _name(family, version), Path(mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        shutil.copytree(artefact, unfinished / MODEL)
        about = {"tags": dict(tags), "digest": digest(dict(tags))}
        (unfinished / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(whole, ignore_errors=True)  # the same version, kept by an earlier watcher
        unfinished.rename(whole)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def get(folder: Path, family: str, version: str) -> tuple[Path, dict[str, str]]:
    """Where the model's files lie, which nobody has verified, and its tags. Raises ModelError: it is not kept whole."""
    whole = folder / _name(family, version)
    try:
        about = json.loads((whole / ABOUT).read_text(encoding="utf-8"))
        tags: dict[str, str] = dict(about["tags"])
        if about["digest"] != digest(tags):
            raise ValueError("its tags were changed")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"the model {version} of {family} is not kept whole in {whole}: {error}") from error
    return whole / MODEL, tags


def judging(folder: Path) -> dict[str, list[str]]:
    """Family -> the version that judged last, and those before; empty: nothing is kept."""
    try:
        told = json.loads((folder / JUDGING).read_text(encoding="utf-8"))
        return {str(family): [str(each) for each in versions] for family, versions in told.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note(folder: Path, judges: Mapping[str, str], stay: Mapping[str, Sequence[str]]) -> None:
    """These judge now (family -> version); what neither judges nor did right before is removed, but for what stays.

    stay: family, of which none judges at this moment -> the versions that may again. Raises OSError.
    """
    before = judging(folder)
    now = {family: _newest(version, before.get(family, ())) for family, version in judges.items()}
    now |= {family: list(versions) for family, versions in stay.items() if versions and family not in judges}
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{_UNFINISHED}{JUDGING}"
    unfinished.write_text(json.dumps(now, sort_keys=True), encoding="utf-8")
    unfinished.replace(folder / JUDGING)
    named = {_name(family, version) for family, versions in now.items() for version in versions}
    for path in folder.iterdir():
        if path.name not in named and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _newest(version: str, before: Sequence[str]) -> list[str]:
    return [version, *(each for each in before if each != version)][:KEPT]


def _name(family: str, version: str) -> str:
    kind, number = parsed(version)
    return f"{model_name(family, kind)}-{number}"
