"""What becomes of registered versions: listed, made challenger, promoted, taken back, compared, described.

Aliases: `champion` scores; `challenger` has passed the gate and waits; `previous` was champion before. Where the kinds
of a family change, `previous` stands at the other kind's model: the tag BEFORE of the champion's version says which it
was. It is the version's own, so that a promotion that breaks off leaves the champion's as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ml import registry
from ml.kinds import family_and_kind, model_name, parsed, told
from ml.registry import CHALLENGER, PROMOTED, TAKEN_BACK, champion_versions, server
from tonewatch.errors import ModelError

log = logging.getLogger(__name__)
PREVIOUS, BEFORE = "previous", "before"
GATE, GATE_REASON = "gate", "gate_reason"
#: Of a version, the champion that it was not compared with, because that one could not score, and why.
SUCCEEDS, SUCCEEDS_REASON = "succeeds", "succeeds_reason"
#: Of a version that was validated and not found better: the verdict and its reasons.
VALIDATION = "validation"
#: Of a version, what the recorded cases said of it.
REPLAY_GATE, REPLAY_GATE_REASON = "replay_gate", "replay_gate_reason"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version. version: as in our own rows; judges: whether it is the one that scores for its family.

    metrics, params: of its run, where they were asked for; retired: since when and why it may score no more, which the
    warehouse knows; empty: it may, or nobody has asked there.
    """

    family: str
    kind: str
    version: str
    made: datetime
    aliases: tuple[str, ...]
    judges: bool
    tags: Mapping[str, str]
    description: str
    run: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    retired: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A promotion. before: the version that was champion; None: there was none."""

    family: str
    version: str
    before: str | None


def listed(tracking_uri: str, family: str | None = None) -> list[Version]:
    """Every version, by family, the newest first. Raises ModelError: MLflow is away."""
    judging = champion_versions(tracking_uri)
    with server(tracking_uri, "the versions were not read", seconds=20, retries=1) as client:
        found = []
        for model in client.search_registered_models(max_results=1000):
            whose = family_and_kind(model.name)
            if whose is None or family not in (None, whose[0]):
                continue
            aliases = _aliases(model)
            for each in client.search_model_versions(f"name='{model.name}'", max_results=1000):
                found.append(_version(whose, each, aliases.get(str(each.version), ()), judging))
    return sorted(found, key=lambda each: (each.family, -each.made.timestamp(), each.kind))


def one(tracking_uri: str, family: str, version: str | None = None) -> Version:
    """A version with what its run tells; None: the champion. Raises ModelError: there is none, or MLflow is away."""
    judging = champion_versions(tracking_uri)
    wanted = version or judging.get(family)
    if wanted is None:
        raise ModelError(f"{family} has no champion; see `tonewatch models list`, or train one: `tonewatch train`")
    kind, number = parsed(wanted)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not read", seconds=20, retries=1) as client:
        model = client.get_registered_model(name)
        held = client.get_model_version(name, number)
        found = _version((family, kind), held, _aliases(model).get(str(held.version), ()), judging)
        run = client.get_run(str(held.run_id)).data
        return replace(found, metrics=dict(run.metrics), params=dict(run.params))


def challenge(tracking_uri: str, family: str, version: str) -> None:
    """Make the version the challenger of its family and kind. Raises ModelError: MLflow is away or knows it not."""
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not made challenger", seconds=60, retries=2) as client:
        client.set_registered_model_alias(name, CHALLENGER, number)


def challenger(tracking_uri: str, family: str) -> str | None:
    """The newest version of the family that waits to be promoted. Raises ModelError: MLflow is away."""
    return registry.challenger_versions(tracking_uri).get(family)


def dismiss(tracking_uri: str, family: str, version: str, verdict: str) -> None:
    """Let the version wait no longer: it is challenger no more, and the tag `validation` says why. Done twice, it is
    as done once. Raises ModelError: MLflow is away or knows it not.
    """
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} stayed challenger", seconds=60, retries=2) as client:
        client.set_model_version_tag(name, number, VALIDATION, verdict)
        if str(client.get_registered_model(name).aliases.get(CHALLENGER)) == number:
            client.delete_registered_model_alias(name, CHALLENGER)


def promote(
    tracking_uri: str, family: str, version: str, at: datetime, *, proven: bool = True, instead_of: str | None = ""
) -> Moved:
    """Make the version the family's champion; the one before stays as `previous`.

    Until the last call the champion is the old one, afterwards the new one. proven: only what has passed the gate, or
    was champion before; instead_of: the champion whose place it takes and no other's; None: there is none; empty:
    whoever it is. Raises ModelError: it is champion already, another is, it has not passed, or MLflow is away.
    """
    before = champion_versions(tracking_uri).get(family)
    if before == version:
        raise ModelError(f"{version} is the champion of {family} already")
    _refuse_another(family, before, instead_of)
    kind, number = parsed(version)
    name = model_name(family, kind)
    failure = f"{name} version {number} was not made champion"
    with server(tracking_uri, failure, seconds=60, retries=2) as client:
        held = client.get_model_version(name, number)
        if proven and held.tags.get(GATE) != "passed" and PROMOTED not in held.tags:
            why = held.tags.get(GATE_REASON, "it was never held against the champion")
            raise ModelError(f"{failure}: it has not passed the gate ({why}); --unproven promotes it all the same")
        if before is not None:
            old_kind, old_number = parsed(before)
            old_name = model_name(family, old_kind)
            client.set_registered_model_alias(old_name, PREVIOUS, old_number)
            if PROMOTED not in client.get_model_version(old_name, old_number).tags:  # it broke off after its own move
                client.set_model_version_tag(old_name, old_number, PROMOTED, at.isoformat())
            client.set_model_version_tag(name, number, BEFORE, before)
    _refuse_another(family, champion_versions(tracking_uri).get(family), instead_of)  # each call may have stalled
    registry.promote(tracking_uri, family, version)
    try:
        with server(tracking_uri, f"{name} version {number} is champion, and not noted so", seconds=60) as client:
            client.set_model_version_tag(name, number, PROMOTED, at.isoformat())  # after the move: it may fail
            if TAKEN_BACK in held.tags:
                client.delete_model_version_tag(name, number, TAKEN_BACK)
            if str(client.get_registered_model(name).aliases.get(CHALLENGER)) == number:
                client.delete_registered_model_alias(name, CHALLENGER)
    except ModelError as error:  # it is champion all the same
        log.warning("%s", error)
    return Moved(family, version, before)


def _refuse_another(family: str, champion: str | None, wanted: str | None) -> None:
    if wanted not in ("", champion):
        raise ModelError(
            f"{champion} has become champion of {family} meanwhile, where {wanted} was: nothing was changed; look "
            "again (`tonewatch models list`)"
        )


def passed(tracking_uri: str, family: str, version: str) -> bool:
    """Whether the version has passed the gate. Raises ModelError: MLflow is away or knows it not."""
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not looked up", seconds=20, retries=1) as client:
        return bool(client.get_model_version(name, number).tags.get(GATE) == "passed")


def succeeds(tracking_uri: str, family: str, version: str) -> tuple[str, str]:
    """The champion that the version was not compared with, because that one could not score, and why; ("", ""): it was
    compared. Raises ModelError: MLflow is away or knows it not.
    """
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not looked up", seconds=20, retries=1) as client:
        tags = client.get_model_version(name, number).tags
    return tags.get(SUCCEEDS, ""), tags.get(SUCCEEDS_REASON, "")


def before_champion(tracking_uri: str, family: str) -> tuple[str, str]:
    """The champion, and the version before it. Raises ModelError: there was none, or MLflow is away."""
    now = champion_versions(tracking_uri).get(family)
    if now is None:
        raise ModelError(f"{family} has no champion that could be taken back")
    kind, number = parsed(now)
    name = model_name(family, kind)
    with server(tracking_uri, f"the champion of {family} was not taken back", seconds=60, retries=2) as client:
        before = client.get_model_version(name, number).tags.get(BEFORE)
        if before is None:  # promoted when the tag was the model's
            before = client.get_registered_model(name).tags.get(BEFORE)
    if before is None or before == now:
        raise ModelError(f"{now} is the first champion of {family}: there is none before it")
    return now, before


def tag(tracking_uri: str, family: str, version: str, tags: Mapping[str, str]) -> None:
    """Write something down with the version. Raises ModelError: MLflow is away or knows it not."""
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not tagged", seconds=60, retries=2) as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)


def compared(one_: Version, other: Version) -> list[tuple[str, float | None, float | None]]:
    """Figure by figure, by name; None: that run has no such figure."""
    return [(name, one_.metrics.get(name), other.metrics.get(name)) for name in sorted({*one_.metrics, *other.metrics})]


def card(of: Version) -> str:
    """The version's model card, in Markdown, from what is known of it."""
    tags, figures = of.tags, of.metrics
    standing = "judges its family" if of.judges else ", ".join(of.aliases) or "scores nothing"
    lines = [
        f"# {model_name(of.family, of.kind)} {of.version}",
        "",
        f"What is normal for parts of the stage `{of.family}`: {tags.get('kind', of.kind)}; {standing}.",
        "",
        *(_section("Retired", [of.retired]) if of.retired else []),
        *_section("Learned from", _learned(tags)),
        *_section("Gate", [tags.get(GATE, "none: registered before there was one"), tags.get(GATE_REASON, "")]),
        *_section("Replay gate", [tags.get(REPLAY_GATE, "nothing is kept of it"), tags.get(REPLAY_GATE_REASON, "")]),
        *(_section("Validation", [tags[VALIDATION]]) if VALIDATION in tags else []),
        *_section("Parameters", [f"{name}: {value}" for name, value in sorted(of.params.items())]),
        *_section("Figures", [f"{name}: {value:.6g}" for name, value in sorted(figures.items())]),
        *_section(
            "Limits",
            [
                "It tells that windows are unlike calm ones, not what is wrong; a finding needs a feature far off.",
                "Its threshold is each tenant's own, set on that tenant's calm (table `calibration`).",
                "Injected anomalies are shifts, drifts and noise in features; real faults may look otherwise.",
            ],
        ),
        of.description,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _learned(tags: Mapping[str, str]) -> list[str]:
    names = ("tenant", "why", "data_start", "data_end", "unrest", "training_set", "training_rows", "view", "data_hash")
    return [f"{name}: {tags[name]}" for name in (*names, "content_hash", "code_version", "fingerprint") if name in tags]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines if line), ""]


def _aliases(model: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for alias, number in sorted(model.aliases.items()):
        found[str(number)] = (*found.get(str(number), ()), alias)
    return found


def _version(whose: tuple[str, str], held: Any, aliases: tuple[str, ...], judging: Mapping[str, str]) -> Version:
    family, kind = whose
    version = told(kind, str(held.version))
    return Version(
        family=family,
        kind=kind,
        version=version,
        made=datetime.fromtimestamp(held.creation_timestamp / 1000, UTC),
        aliases=aliases,
        judges=judging.get(family) == version,
        tags=dict(held.tags),
        description=held.description or "",
        run=str(held.run_id),
    )
