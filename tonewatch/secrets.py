"""The stack's own secrets: made on the first start, kept in the state folder, readable by its owner alone."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tonewatch.errors import StateFolderError

FILE = "secrets.json"


@dataclass(frozen=True, repr=False)
class Secrets:
    """Passwords of the database's roles and of Redis, and the key under which listeners' ids are pseudonymised."""

    superuser: str
    app: str
    dispatcher: str
    prefect: str
    mlflow: str
    redis: str
    root_key_hex: str

    @property
    def root_key(self) -> bytes:
        """32 random bytes; other keys are derived from it."""
        return bytes.fromhex(self.root_key_hex)

    def __repr__(self) -> str:
        return "Secrets(...)"


def load(state_dir: Path) -> Secrets:
    """Read the secrets of `state_dir`. Raises StateFolderError: there are none, or they cannot be read."""
    path = state_dir / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Secrets(**{field.name: str(content[field.name]) for field in fields(Secrets)})
    except FileNotFoundError:
        raise StateFolderError(f"{state_dir} holds no secrets yet: start the stack once with `tonewatch up`") from None
    except OSError as error:
        raise StateFolderError(f"{path} cannot be read ({error.strerror}): run as the user who owns it") from error
    except (ValueError, KeyError, TypeError) as error:
        # What was wrong with it is not repeated: an error text may end in a log, and the file holds passwords.
        raise StateFolderError(
            f"{path} is damaged: restore it from a backup, or set TONEWATCH_STATE_DIR to a new folder"
        ) from error


def load_or_generate(state_dir: Path) -> Secrets:
    """Read the secrets of `state_dir`, made first (mode 0600) when there are none. Raises StateFolderError."""
    path = state_dir / FILE
    if not path.exists():
        _write(path, _generate())
    return load(state_dir)


def _generate() -> Secrets:
    words = {field.name: secrets.token_urlsafe(32) for field in fields(Secrets)}
    return Secrets(**words | {"root_key_hex": secrets.token_hex(32)})


def _write(path: Path, made: Secrets) -> None:
    unfinished = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        unfinished.touch(mode=0o600, exist_ok=False)
        unfinished.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
        # A link, not a rename: secrets that another process wrote meanwhile are never replaced.
        path.hardlink_to(unfinished)
    except FileExistsError:
        return
    except OSError as error:
        raise StateFolderError(f"{path} cannot be written ({error.strerror}): set TONEWATCH_STATE_DIR") from error
    finally:
        unfinished.unlink(missing_ok=True)
