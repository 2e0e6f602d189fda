"""Cases: recordings of which it is known what should be found in them, in a library that is a folder of folders.

A case is a folder with a recording (`recording/`, docs/recordings.md) and `case.json`, which says what was wrong, or
that nothing was; `followed`, where it is there, is what was known of single series when it begins. The library is what
a change of a model, a rule or a guardrail is held against before it goes live.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tonewatch.errors import RecordingError
from tonewatch.recording import Recording, open_recording
from tonewatch.settings import Profile

FILE, RECORDING, FOLLOWED = "case.json", "recording", "followed"
#: Of `case.json`, raised when it is laid out in another way. The first cases do not tell theirs.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Expected:
    """What was wrong: from `onset` until `until`, at these parts, one of which is the cause's. cause: `entity:kind`."""

    onset: datetime
    until: datetime
    entities: tuple[str, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A recording and what is to be found in it. expected: None where nothing was wrong: a calm period.

    source: where it comes from, e.g. `soundstage`, `simulator`, `warehouse`; profile: that was in force, whole;
    followed_hash: of what was known of single series, empty: that is not kept.
    """

    name: str
    folder: Path
    source: str
    profile: Profile
    expected: Expected | None
    followed_hash: str = ""

    def recording(self) -> Recording:
        """Its recording, seen to be whole. Raises RecordingError: it is damaged, or was changed."""
        opened = open_recording(self.folder / RECORDING)
        opened.verify()
        return opened

    def followed(self) -> bytes | None:
        """What was known of single series at its beginning (tasks/preserve.py); None: that is not kept.

        Raises RecordingError: it is gone, or was changed.
        """
        if not self.followed_hash:
            return None
        try:
            kept = (self.folder / FOLLOWED).read_bytes()
        except OSError as error:
            raise RecordingError(f"{self.folder / FOLLOWED} cannot be read: {error}") from error
        if _hash(kept) != self.followed_hash:
            raise RecordingError(
                f"{self.folder / FOLLOWED} was changed since it was kept: take the case from elsewhere"
            )
        return kept


def library(folder: Path) -> list[Case]:
    """The cases of a library, in the order of their names. Raises RecordingError: none, or one is not whole."""
    if not folder.is_dir():
        raise RecordingError(f"{folder} is no library of cases: no such folder; `tonewatch cases add` makes one")
    found = [open_case(each) for each in folders(folder)]
    if not found:
        raise RecordingError(
            f"{folder} holds no case: none of its folders has a {FILE}; see `tonewatch cases add --help`"
        )
    return found


def folders(library: Path) -> list[Path]:
    """Where its cases lie, in the order of their names, whole or not; none where there is no library."""
    return [path.parent for path in sorted(library.glob(f"[!.]*/{FILE}"))]


def open_case(folder: Path) -> Case:
    """One case. Raises RecordingError: it is not whole; says which key is wrong."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if (version := told.get("version", VERSION)) != VERSION:
            raise ValueError(f"it is of version {version}, this Tonewatch reads version {VERSION}")
        profile, followed = Profile.model_validate(told["profile"]), str(told.get("followed", ""))
        return Case(folder.name, folder, str(told["source"]), profile, _expected(told["expected"]), followed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(
            f"{folder / FILE} is no case ({error!r}); keep it anew with `tonewatch cases add`, or remove the folder"
        ) from error


def write_case(
    folder: Path, source: str, profile: Profile, expected: Expected | None, followed: bytes | None = None
) -> Case:
    """Say what is to be found in the recording that lies in `folder`; written last, so that no half case is one.

    followed: what was known of single series when it begins. Raises RecordingError: it cannot be written.
    """
    hashed = "" if followed is None else _hash(followed)
    own = profile.model_dump(mode="json", exclude_unset=True)
    told = {
        "version": VERSION,
        "source": source,
        "profile": own,
        "expected": None if expected is None else asdict(expected),
        **({"followed": hashed} if hashed else {}),
    }
    text = json.dumps(told, indent=1, default=lambda time: time.isoformat()) + "\n"
    try:
        if followed is not None:
            (folder / FOLLOWED).write_bytes(followed)
        (folder / FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"the case {folder} cannot be written: {error}") from error
    return Case(folder.name, folder, source, profile, expected, hashed)


def _hash(kept: bytes) -> str:
    return blake2b(kept, digest_size=32).hexdigest()


def _expected(told: dict[str, Any] | None) -> Expected | None:
    if told is None:
        return None
    onset, until = (datetime.fromisoformat(told[name]) for name in ("onset", "until"))
    entities: Sequence[str] = told["entities"]
    if onset.tzinfo is None or until.tzinfo is None or until < onset or not entities or isinstance(entities, str):
        raise ValueError("onset and until with their zone, the earlier first, and at least one entity are needed")
    return Expected(onset, until, tuple(map(str, entities)), str(told.get("cause", "")))
