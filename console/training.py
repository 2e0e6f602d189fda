"""`tonewatch train`: asks Prefect for a run of the training flow and follows it to its end."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from console.commands import Json, StateDir, Tenant, as_json_text, connected_settings, own_tenant

_TIMES = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]


def train(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="A family (edge), a family as a kind (edge/row-ensemble), a kind (row-ensemble: all families as it), "
            "or `all`: each family as the profile has it.",
        ),
    ] = "all",
    start: Annotated[
        datetime | None,
        typer.Option(formats=_TIMES, help="Calm from then on. Default: two days before the end.", show_default=False),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Until then. Default: now.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Same data and seed, same model.")] = 0,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Settings to try per family. Default: as the profile has it.", show_default=False),
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for the run.")] = 1800.0,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Train models on calm telemetry, as a Prefect flow with a run in MLflow for each family.

    What passes the gate becomes challenger; the first of a family champion. Exit status 1 when a family failed.
    """
    import asyncio
    import sys

    from console.demo import lesson

    settings = connected_settings(state_dir).model_copy(update={"tenant": tenant or own_tenant()})
    further: dict[str, Any] = {**asked(model), "seed": seed, "trials": trials, "patience": patience}

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    done = asyncio.run(lesson.train(settings, start, end, say, further))
    if as_json:
        print(as_json_text(done))
        return
    for each in done["figures"]:
        print("  ".join(f"{name} {value}" for name, value in each.items()))
    print(f"{done['name']}: {done['state'].lower()} in {done['seconds']} s")


def asked(model: str) -> dict[str, Any]:
    """The flow's parameters for a MODEL of the command line. Raises ModelError: it names neither family nor kind."""
    from feature_store.definitions import FAMILIES
    from ml.kinds import kind_of, kinds
    from tonewatch.errors import ModelError

    family, _, kind = model.partition("/")
    if model == "all":
        return {}
    if family in FAMILIES:
        return {"families": [family]} | ({"kind": kind_of(kind).name} if kind else {})
    if model in kinds():
        return {"kind": model}
    raise ModelError(
        f"{model!r} is no model; families are {', '.join(FAMILIES)}; kinds are {', '.join(kinds())}; or both: edge/NAME"
    )
