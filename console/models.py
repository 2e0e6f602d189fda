"""`tonewatch models`: which versions there are and what they are, and who of them judges.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import (
    Author,
    Json,
    StateDir,
    Tenant,
    as_json_text,
    connected_settings,
    own_tenant,
    run,
    say,
    user,
)

if TYPE_CHECKING:
    from ml.versions import Moved, Version
    from tasks.series_sets import SeriesSet, TakenBack
    from warehouse.database import Warehouse

app = typer.Typer(
    name="models",
    help="List the registered models, show and compare them, and say which of them judges.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SHOWN = ("tenant", "why", "unrest", "training_set", "data_hash", "content_hash", "view", "code_version")
_MODEL = Annotated[
    str, typer.Argument(metavar="MODEL", help="A family (its champion), or a version: edge/3, edge/row-ensemble/2.")
]
_FAMILY = Annotated[str, typer.Argument(metavar="FAMILY", help="A family, e.g. edge.")]
_FAMILY_OR_SERIES = Annotated[
    str, typer.Argument(metavar="FAMILY", help="A family, e.g. edge; series: the thresholds of single series.")
]
_WHY = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit.")]


@app.command(name="list")
def list_(
    family: Annotated[
        str | None, typer.Option(help="Of this family alone; series: of single series.", show_default=False)
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """List every version: its standing, what the gate said, when and from whose calm it was made.

    Single series have no model: what each training has set for the tenant are thresholds, listed as `series`.
    """
    from ml import versions
    from tasks.series_sets import SERIES_SETS, series_sets
    from tonewatch.errors import WarehouseError

    whose = tenant or own_tenant()
    found = [] if family == SERIES_SETS else versions.listed(_registry(state_dir), family)
    sets = []
    if family in (None, SERIES_SETS):
        try:
            sets = run(state_dir, lambda warehouse: series_sets(whose, warehouse))
        except WarehouseError as error:
            if family == SERIES_SETS:
                raise
            say(f"the thresholds of single series are not known: {error}")
    if as_json:
        print(as_json_text([*found, *sets]))
        return
    for each in found:
        standing = "judges" if each.judges else ",".join(each.aliases) or "-"
        gate = each.tags.get(versions.GATE, "no gate")
        print(
            f"{each.family:<11}{each.kind:<18}{each.version:<18}{standing:<12}{gate:<9}"
            f"{each.made:%Y-%m-%d %H:%M}Z  {each.tags.get('tenant', '')}"
        )
    for one in sets:
        print(_of_series(one, whose))
    if family == SERIES_SETS and not sets:
        print(f"single series of {whose} have no thresholds yet: a training of all families sets them in calm")
    elif not found and family != SERIES_SETS:
        print("no model is registered yet: `tonewatch train` makes one for each family")


@app.command()
def show(
    model: _MODEL,
    card: Annotated[bool, typer.Option("--card", help="As a model card, in Markdown.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show a version: what it learned from and why, what the gates said, whether it is retired, its figures."""
    from ml import versions

    (found,) = _with_retirement(tenant, state_dir, [_one(_registry(state_dir), model)])
    if as_json:
        print(as_json_text(found))
    elif card:
        print(versions.card(found), end="")
    else:
        print(_text(found))


@app.command()
def compare(
    model: _MODEL,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[OTHER]", help="A version. Default: the family's challenger.", show_default=False),
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show the figures of two versions side by side, and below them what is said of each."""
    from ml import versions
    from tonewatch.errors import ModelError

    registry = _registry(state_dir)
    one = _one(registry, model)
    waiting = other or versions.challenger(registry, one.family)
    if waiting is None:
        raise ModelError(f"{one.family} has no challenger; name a version, as `tonewatch models list` shows them")
    two = _one(registry, other) if other else versions.one(registry, one.family, waiting)
    one, two = _with_retirement(tenant, state_dir, [one, two])
    rows = versions.compared(one, two)
    if as_json:
        told = {name: {"one": a, "other": b} for name, a, b in rows}
        print(as_json_text({"one": one, "other": two, "figures": told}))
        return
    print(f"{'':<28}{_name(one):>26}{_name(two):>26}")
    for name, a, b in rows:
        print(f"{name:<28}" + "".join(f"{'-' if each is None else f'{each:.6g}':>26}" for each in (a, b)))
    for each in (one, two):
        print("\n".join([f"{_name(each)}:", *_said(each), *_tags(each, ("why", "unrest"))]))


@app.command()
def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A version (edge/3), or a family: its challenger.")],
    unproven: Annotated[bool, typer.Option("--unproven", help="Although it has not passed the gate.")] = False,
    reason: _WHY = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Make a version the champion of its family. Watchers take it up between two ticks; `rollback` takes it back."""
    from ml import versions
    from tonewatch.clock import SYSTEM
    from tonewatch.errors import ModelError

    registry = _registry(state_dir)
    family, version = _parts(model)
    wanted = version or versions.challenger(registry, family)
    if wanted is None:
        raise ModelError(f"{family} has no challenger to promote; name a version: {family}/NUMBER")
    whose, by = tenant or own_tenant(), author or user()

    async def work(warehouse: Warehouse) -> Moved:
        from tasks.promote import promote as make

        now, proven = SYSTEM.now(), not unproven
        return await make(whose, warehouse, registry, family, wanted, who=by, reason=reason, now=now, proven=proven)

    _tell(state_dir, work, as_json)


@app.command()
def rollback(
    family: _FAMILY_OR_SERIES,
    reason: _WHY = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Make the version that was champion before the champion again. Done twice, all is as it was.

    `series`: the thresholds of the tenant's single series that held before the newest were set judge again.
    """
    from tasks.series_sets import SERIES_SETS, rollback_series
    from tonewatch.clock import SYSTEM

    whose, by = tenant or own_tenant(), author or user()
    if family == SERIES_SETS:
        now = SYSTEM.now()
        done = run(state_dir, lambda warehouse: rollback_series(whose, warehouse, who=by, reason=reason, now=now))
        print(as_json_text(done) if as_json else _taken_back(done))
        return
    registry = _registry(state_dir)

    async def work(warehouse: Warehouse) -> Moved:
        from tasks.promote import rollback as back

        return await back(whose, warehouse, registry, family, who=by, reason=reason, now=SYSTEM.now())

    _tell(state_dir, work, as_json)


def _say(kind: str, words: str) -> None:
    """A command that says something of what two models disagree on, under the name of the kind of act that it is."""

    @app.command(kind, help=words)
    def say(
        disagreement: Annotated[str, typer.Argument(help="Its id, as `tonewatch incidents ask` shows it.")],
        reason: _WHY = "",
        author: Author = None,
        tenant: Tenant = None,
        as_json: Json = False,
        state_dir: StateDir = None,
    ) -> None:
        from tonewatch.clock import SYSTEM
        from tonewatch.records import ActKind
        from warehouse.acts import Wish
        from warehouse.disagreements import answer

        wish, whose = Wish(ActKind(kind), disagreement, author or user(), reason), tenant or own_tenant()
        done = run(state_dir, lambda warehouse: answer(whose, warehouse, wish, SYSTEM.now()))
        print(as_json_text(done) if as_json else "\n".join(done.told))


_say("real", "Say that what one of two models would have told was real. It counts for whichever found it.")
_say("false", "Say that what one of two models would have told was a false alarm.")


def _answer(word: str, words: str) -> None:
    """A command that answers a model which waits to be champion."""

    @app.command(word, help=words)
    def answered(
        family: _FAMILY,
        version: Annotated[str, typer.Argument(metavar="VERSION", help="As the notice names it, e.g. 4.")],
        reason: _WHY = "",
        author: Author = None,
        tenant: Tenant = None,
        as_json: Json = False,
        state_dir: StateDir = None,
    ) -> None:
        from tonewatch.clock import SYSTEM
        from warehouse.answers import Answer, Answered, answer, waiting

        whose, by = tenant or own_tenant(), author or user()

        async def work(warehouse: Warehouse) -> Answered:
            asked = await waiting(whose, warehouse, family, version)
            return await answer(whose, warehouse, Answer(asked.id, word == "approve", by, reason), SYSTEM.now())

        done = run(state_dir, work)
        print(as_json_text(done) if as_json else done.told)


_answer("approve", "Say yes to a model that was shown to be better and waits: it becomes champion within the hour.")
_answer("reject", "Say no to a model that was shown to be better and waits: the champion stays who it is.")


def _tell(state_dir: Path | None, work: Callable[[Warehouse], Awaitable[Moved]], as_json: bool) -> None:
    moved = run(state_dir, work)
    if as_json:
        print(as_json_text(moved))
        return
    before = "there was none before" if moved.before is None else f"{moved.before} before"
    print(f"{moved.family}: {moved.version} is champion ({before}); watchers take it up within a minute")


def _of_series(of: SeriesSet, tenant: str) -> str:
    standing = f"judges {of.judging}" if of.judging else "-"
    return (
        f"{of.family:<11}{'thresholds':<18}{f'{len(of.thresholds)} metrics':<18}{standing:<21}"
        f"{of.made:%Y-%m-%d %H:%M}Z  {tenant}"
    )


def _taken_back(done: TakenBack) -> str:
    kept = f"; {len(done.kept)} had none before and keep theirs" if done.kept else ""
    return f"{done.family}: {len(done.thresholds)} thresholds as before{kept}; watchers take them up within a minute"


def _registry(state_dir: Path | None) -> str:
    return connected_settings(state_dir).mlflow_tracking_uri or ""


def _parts(model: str) -> tuple[str, str | None]:
    family, _, version = model.partition("/")
    return family, version or None


def _one(registry: str, model: str) -> Version:
    from ml import versions

    return versions.one(registry, *_parts(model))


def _name(of: Version) -> str:
    return f"{of.family}/{of.version}"


def _with_retirement(tenant: str | None, state_dir: Path | None, of: Sequence[Version]) -> list[Version]:
    """The same, with what the warehouse knows of their retirement; that it is away is told, and withholds nothing."""
    from dataclasses import replace

    from tonewatch.errors import WarehouseError
    from warehouse import lineage
    from warehouse.calibrations import model_version

    whose = tenant or own_tenant()

    async def work(warehouse: Warehouse) -> list[Version]:
        async with warehouse.as_tenant(whose) as db:
            known = [await lineage.retirement(whose, db, model_version(each.family, each.version)) for each in of]
        return [
            each if gone is None else replace(each, retired=f"since {gone[0]:%Y-%m-%d %H:%M}Z: {gone[1]}")
            for each, gone in zip(of, known, strict=True)
        ]

    try:
        return run(state_dir, work)
    except WarehouseError as error:
        say(f"whether it is retired is not known: {error}")
        return list(of)


def _text(found: Version) -> str:
    standing = "judges its family" if found.judges else ", ".join(found.aliases) or "scores nothing"
    lines = [
        f"{_name(found)}: {found.kind}, {standing}",
        f"  made {found.made:%Y-%m-%d %H:%M:%S}Z by run {found.run}",
        *_said(found),
        *_tags(found, _SHOWN),
    ]
    lines += [f"  {name:<28}{value:.6g}" for name, value in sorted(found.metrics.items())]
    return "\n".join(lines)


def _said(of: Version) -> list[str]:
    """What gates and validation said of it, and whether it is retired."""
    from ml.versions import GATE, GATE_REASON, REPLAY_GATE, REPLAY_GATE_REASON, VALIDATION

    tags = of.tags
    lines = [
        f"  gate: {tags.get(GATE, 'none')} {tags.get(GATE_REASON, '')}".rstrip(),
        f"  replay gate: {tags.get(REPLAY_GATE, 'nothing is kept of it')} {tags.get(REPLAY_GATE_REASON, '')}".rstrip(),
    ]
    lines += [f"  validation: {tags[VALIDATION]}"] if VALIDATION in tags else []
    return [*lines, f"  retired: {of.retired}"] if of.retired else lines


def _tags(of: Version, names: Sequence[str]) -> list[str]:
    return [f"  {name}: {of.tags[name]}" for name in names if name in of.tags]
