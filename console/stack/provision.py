"""Steps that run once at each start, as processes of their own: what they import is gone when they are done.

python -m console.stack.provision databases | warehouse | pool | deployments
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

from console.stack.wiring import OWN_PREFECT, ROOT, SERVER_DATABASES
from tonewatch import secrets
from tonewatch.clock import SYSTEM
from tonewatch.errors import PartFailed, StackError, TonewatchError
from tonewatch.settings import Settings, read

POOL = "tonewatch"
DEPLOYMENTS = ROOT / "deployments" / "prefect.yaml"
HTTP_SECONDS = 10.0


def databases(settings: Settings) -> None:
    """Give each server its own login role and database, which nobody else may enter. Needs admin_database_url."""
    from warehouse.migrate import create_database, create_role

    kept = secrets.load(settings.state_dir)
    for name in SERVER_DATABASES:
        create_role(_admin(settings), name, str(getattr(kept, name)))
        create_database(_admin(settings), name, owner=name)


def warehouse(settings: Settings) -> None:
    """Bring the warehouse to its newest schema and add the tenant."""
    from warehouse.migrate import migrate_from_settings

    if settings.admin_database_url is not None:
        migrate_from_settings(settings)
    asyncio.run(_add_tenant(settings))


async def _add_tenant(settings: Settings) -> None:
    from warehouse import audit, tenants
    from warehouse.database import Warehouse

    store = Warehouse.from_settings(settings)
    try:
        async with store.as_tenant(settings.tenant) as db:
            now = SYSTEM.now()
            if await tenants.add(settings.tenant, db, name=settings.tenant, profile=settings.profile, at=now):
                return
            held = await tenants.get(settings.tenant, db)
            # Once the tenant's settings have been changed they hold, and the setting is only where they began.
            if held.settings_version == 1 and held.profile != settings.profile:
                await tenants.watch_by(settings.tenant, db, settings.profile)
                await audit.write(
                    settings.tenant,
                    db,
                    who="up",
                    what="settings.change",
                    subject=settings.tenant,
                    before={"profile": held.profile},
                    after={"profile": settings.profile},
                    reason="the setting PROFILE",
                    at=now,
                )
    finally:
        await store.close()


def pool(settings: Settings) -> None:
    """Make the work pool, of which the worker takes its runs, where it is missing."""
    body = json.dumps({"name": POOL, "type": "process"}).encode()
    request = urllib.request.Request(  # noqa: S310  # the URL is the user's setting or ours
        f"{(settings.prefect_api_url or '').rstrip('/')}/work_pools/",
        data=body,
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS):  # noqa: S310  # as above
            pass
    except urllib.error.HTTPError as error:
        if error.code != 409:  # it is there already
            raise PartFailed(f"Prefect refused the work pool {POOL}: {error.code} {error.reason}") from error
    except OSError as error:
        raise PartFailed(f"Prefect at {settings.prefect_api_url} cannot be reached: {error}") from error


def deployments(settings: Settings) -> None:
    """Register the flows' deployments; left out when nothing about them changed since the last time."""
    if not DEPLOYMENTS.exists():
        return
    stamp = settings.state_dir / "prefect" / "deployed"
    digest = _deployments_digest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == digest:
        return
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS)]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
        raise PartFailed("the flows' deployments could not be registered; see logs/deployments.log")
    stamp.parent.mkdir(mode=0o700, exist_ok=True)
    stamp.write_text(digest, encoding="ascii")


def _deployments_digest() -> str:
    # A flow's parameters are part of its deployment, hence its source. A Prefect of the user's may have been emptied
    # since: there nothing is left out.
    text = hashlib.sha256()
    for path in (DEPLOYMENTS, *sorted((ROOT / "flows").glob("*.py"))):
        text.update(path.read_bytes())
    own = os.environ.get(OWN_PREFECT) == "yes"
    text.update(f"{importlib.metadata.version('prefect')} {ROOT}".encode())
    return text.hexdigest() if own else "never"


def _admin(settings: Settings) -> str:
    if settings.admin_database_url is None:
        raise StackError("TONEWATCH_ADMIN_DATABASE_URL is not set: without it no database can be made")
    return settings.admin_database_url.get_secret_value()


STEPS = {step.__name__: step for step in (databases, warehouse, pool, deployments)}


def main(arguments: list[str]) -> int:
    """Run the step named by the one argument; the exit status says whether it worked."""
    try:
        STEPS[arguments[0]](read())
    except TonewatchError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
