"""`tonewatch keys`: API keys for those who send to the gateway or look through it.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands import Author, Json, StateDir, Tenant, as_json_text, own_tenant, run, user

app = typer.Typer(
    name="keys",
    help="Make, list, rotate and revoke the API keys of a tenant.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Key = Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit.")]


@app.command()
def add(
    purpose: Annotated[str, typer.Argument(help="What it is for, e.g. players.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="beacons: send beacons; metrics: remote write; alerts: an Alertmanager's webhook; events: access, "
            "log-in and play; changes: announce changes; inventory: say what there is. Or a role: viewer asks, "
            "operator acknowledges, vetoes and closes, approver says yes, auditor reads the audit, admin all. More "
            "than one may be given. Default: beacons.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Valid for so many days.", show_default=False)] = None,
    reason: Why = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Make a key and print it. It is shown once: the warehouse holds its hash alone."""
    from console.keyring import Keyring

    whose, by = tenant or own_tenant(), author or user()
    scopes = tuple(scope or ("beacons",))
    made = run(state_dir, lambda warehouse: Keyring(warehouse).add(whose, purpose, scopes, days, by, reason))
    print(as_json_text(made) if as_json else made.plain)


@app.command(name="list")
def list_(tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """List every key that there was: id, purpose, scopes, whether it holds."""
    from console.keyring import Keyring
    from tonewatch.clock import SYSTEM

    whose = tenant or own_tenant()
    found = run(state_dir, lambda warehouse: Keyring(warehouse).all(whose))
    if as_json:
        print(as_json_text(found))
        return
    for each in found:
        print(f"{each.id}  {','.join(each.scopes):<24}{each.standing(SYSTEM.now()):<30}{each.purpose}")


@app.command()
def rotate(
    key: Key,
    grace: Annotated[float, typer.Option(min=0, help="Hours for which the old key holds beside the new one.")] = 24.0,
    reason: Why = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Print a new key for the same purpose; the old one holds a little longer, until its senders have changed over."""
    from console.keyring import Keyring

    whose, by = tenant or own_tenant(), author or user()
    made = run(state_dir, lambda warehouse: Keyring(warehouse).rotate(whose, key, grace, by, reason))
    print(as_json_text(made) if as_json else made.plain)


@app.command()
def revoke(
    key: Key, reason: Why = "", author: Author = None, tenant: Tenant = None, state_dir: StateDir = None
) -> None:
    """End a key at once, also in connections that are open."""
    from console.keyring import Keyring

    whose, by = tenant or own_tenant(), author or user()
    ended = run(state_dir, lambda warehouse: Keyring(warehouse).revoke(whose, key, by, reason))
    print(f"{ended.id} ({ended.purpose}) has ended")
