"""What commands share: their usual options, the settings and the warehouse of the stack that runs, JSON for scripts.

It imports what it needs when it is called: `tonewatch --help` loads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from tonewatch.settings import Settings
    from warehouse.database import Warehouse

Result = TypeVar("Result")

Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Default: the tenant of the settings.", show_default=False)
]
Author = Annotated[
    str | None, typer.Option("--as", help="Who says so. Default: the user of this machine.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models", help="Address of an MLflow whose champions score too; default: rules alone.", show_default=False
    ),
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="State folder; default: TONEWATCH_STATE_DIR.", show_default=False)
]


def settings_for(state_dir: Path | None) -> Settings:
    """The settings, with another state folder where one is given. Raises SettingsError."""
    from tonewatch.settings import read

    given = read()
    return given if state_dir is None else given.model_copy(update={"state_dir": state_dir.absolute()})


def connected_settings(state_dir: Path | None) -> Settings:
    """The same with the addresses of the stack that runs, unless they name a database of their own. Raises NotUp."""
    from console.stack.lifecycle import connected

    settings = settings_for(state_dir)
    return settings if settings.database_url is not None else connected(settings)


def say(text: str) -> None:
    """Tell those who wait; what scripts read goes elsewhere."""
    print(text, file=sys.stderr, flush=True)


def own_tenant() -> str:
    """The tenant of the settings."""
    return settings_for(None).tenant


def run(state_dir: Path | None, work: Callable[[Warehouse], Awaitable[Result]]) -> Result:
    """Do `work` with the warehouse of the stack that runs, in an event loop of its own. Raises NotUp."""
    import asyncio

    from warehouse.database import Warehouse

    settings = connected_settings(state_dir)

    async def inside() -> Result:
        warehouse = Warehouse.from_settings(settings)
        try:
            return await work(warehouse)
        finally:
            await warehouse.close()

    return asyncio.run(inside())


def user() -> str:
    """Who is at this machine. Raises ActRefused: it does not know."""
    import getpass

    from tonewatch.errors import ActRefused

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ActRefused("this machine does not know who you are; say so: --as NAME") from error


def as_json_text(document: Any, indent: int | None = 1) -> str:
    """Records, times and all as JSON."""
    from warehouse.rows import document as written

    return json.dumps(json.loads(written(document)), indent=indent, ensure_ascii=False)
