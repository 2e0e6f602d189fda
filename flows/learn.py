"""Learning on demand: asks Prefect for a run of the training deployment and follows it to its end.

`python -m flows.learn TENANT START END [PARAMETERS]` does the same for those who do not want Prefect's client in their
process (START, END: `-` for the flow's own; PARAMETERS: further ones of the flow, as JSON). It prints one JSON document
per line: {"state": ...} as it changes, and at last {"result": {...}} or {"error": "..."}.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from policy.retraining import Why
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import PartFailed, TonewatchError

DEPLOYMENT = "training/training"
PATIENCE_SECONDS = 240.0  # the worker's next look, a process's start and imports, the training: on a busy machine
FIGURES = "training-figures"
POLL_SECONDS = 1.0


async def learn(
    tenant: str,
    start: datetime | None,
    end: datetime | None,
    on_progress: Callable[[str], None],
    *,
    further: Mapping[str, Any] | None = None,
    patience: float = PATIENCE_SECONDS,
    clock: Clock = SYSTEM,
) -> dict[str, Any]:
    """Train `tenant`'s models on the samples from `start` to `end` (None: as the flow has it), and wait for it.

    further: parameters of the flow. `on_progress` gets the run's state in words whenever it changes. Returns {flow_run,
    name, state, seconds, figures}. Raises PartFailed: Prefect is away, does not know the deployment, or the run failed
    or took longer than `patience` seconds.
    """
    began = clock.monotonic()
    try:
        async with get_client() as client:
            asked = {"tenant": tenant, "why": [Why.HAND.value], **_times(start, end), **(further or {})}
            run = await _request(client, asked)
            run = await _follow(client, run, on_progress, clock, began, patience)
            figures = await _figures(client, run)
    except (TonewatchError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise PartFailed(f"Prefect did not carry the training out ({error!r}); see `tonewatch status`") from error
    state = run.state_name or "unknown"
    if run.state is None or not run.state.is_completed():
        message = f": {run.state.message}" if run.state and run.state.message else ""
        raise PartFailed(f"the training run {run.name} ended {state}{message}; its log is in the Prefect UI")
    told = {"flow_run": str(run.id), "name": run.name, "state": state, "seconds": round(clock.monotonic() - began, 1)}
    return told | {"figures": figures}


async def ask(tenant: str, families: Sequence[str] | None, key: str, at: datetime, why: Sequence[str]) -> str:
    """Ask for a training of those families (None: all) on the two days before `at`, and do not wait for it.

    key: the same key makes one run, however often it is asked for; at: the asker's now, which is the training's, too,
    however late a worker comes to it; why: what asks (policy/retraining.py). Returns the flow run's id. Raises
    PartFailed: Prefect is away or does not know the deployment.
    """
    parameters: dict[str, Any] = {"tenant": tenant, "families": None if families is None else list(families)}
    parameters |= {"as_of": at.isoformat(), "why": list(why)}
    try:
        async with get_client() as client:
            run = await arun_deployment(
                DEPLOYMENT,
                client=client,
                parameters=parameters,
                timeout=0,
                as_subflow=False,
                tags=[tenant, *why],
                idempotency_key=key,
            )
    except ObjectNotFound as error:
        raise PartFailed(f"Prefect has no deployment {DEPLOYMENT}; `tonewatch up` registers it") from error
    except Exception as error:
        raise PartFailed(f"Prefect did not take the training ({error!r}); see `tonewatch status`") from error
    return str(run.id)


def _times(start: datetime | None, end: datetime | None) -> dict[str, str]:
    return {name: time.isoformat() for name, time in (("start", start), ("end", end)) if time is not None}


async def _figures(client: PrefectClient, run: FlowRun) -> list[dict[str, Any]]:
    """What the run tells of each family; empty before it has told anything."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[FIGURES]))
    found = await client.read_artifacts(artifact_filter=of_run)
    rows: list[dict[str, Any]] = json.loads(str(found[0].data)) if found else []
    return rows


async def _request(client: PrefectClient, parameters: dict[str, Any]) -> FlowRun:
    try:
        return await arun_deployment(
            DEPLOYMENT,
            client=client,
            parameters=parameters,
            timeout=0,
            as_subflow=False,
            tags=[str(parameters["tenant"]), *parameters["why"]],
        )
    except ObjectNotFound as error:
        raise PartFailed(f"Prefect has no deployment {DEPLOYMENT}; `tonewatch up` registers it") from error


async def _follow(
    client: PrefectClient,
    run: FlowRun,
    on_progress: Callable[[str], None],
    clock: Clock,
    began: float,
    patience: float,
) -> FlowRun:
    told = ""
    while True:
        run = await client.read_flow_run(run.id)
        if run.state_name and run.state_name != told:
            told = run.state_name
            on_progress(f"training run {run.name}: {told.lower()}")
        if run.state is not None and run.state.is_final():
            return run
        if clock.monotonic() > began + patience:
            raise PartFailed(f"the training run {run.name} is still {told.lower()} after {patience:.0f} s")
        await asyncio.sleep(POLL_SECONDS)  # Prefect's API can only be asked


def main(arguments: list[str]) -> int:
    """`python -m flows.learn TENANT START END [PARAMETERS]` (ISO times); exit status 0 when the run completed."""
    if len(arguments) not in (3, 4):
        sys.stderr.write("usage: python -m flows.learn TENANT START END [PARAMETERS]\n")
        return 2
    tenant, *times = arguments[:3]
    try:
        start, end = (None if time == "-" else datetime.fromisoformat(time) for time in times)
        further: dict[str, Any] = json.loads(arguments[3]) if len(arguments) == 4 else {}
        patience = float(further.pop("patience", PATIENCE_SECONDS))
        telling = learn(tenant, start, end, lambda text: _tell({"state": text}), further=further, patience=patience)
        result = asyncio.run(telling)
    except ValueError as error:
        _tell({"error": f"no time, or no parameters: {error}"})
        return 2
    except TonewatchError as error:
        _tell({"error": str(error)})
        return error.exit_status
    _tell({"result": result})
    return 0


def _tell(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
