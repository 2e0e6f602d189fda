"""What people say of the incidents of a backtest: kept as labels, with what was judged beside them as evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from console.tenancy import Change
from policy.advice import UNJUDGED, Advice, Past, advice
from tasks.backtest import PastIncident
from tonewatch.acts import VERDICTS
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SettingsError
from tonewatch.records import Evidence, Label, digest
from tonewatch.settings import Profile
from warehouse import audit, evidence, labels, tenants
from warehouse.database import Warehouse
from warehouse.rows import document

#: `Label.subject_kind`; the subject is the id of the evidence.
SUBJECT = "past-incident"
NAME_LENGTH = 8
_LETTERS = {verdict[0]: verdict for verdict in VERDICTS}


def said(words: Sequence[str], incidents: Sequence[PastIncident]) -> dict[int, str]:
    """Number of the incident, from 1 -> verdict, of `2=real` or, by its name, `5f0c1d9e=real`.

    Raises SettingsError: no such incident, no such verdict, or one that is judged twice.
    """
    numbers = {str(number): number for number in range(1, len(incidents) + 1)}
    named = {name(each): number for number, each in enumerate(incidents, start=1)}
    found: dict[int, str] = {}
    for word in words:
        which, _, verdict = word.partition("=")
        if verdict not in VERDICTS:
            raise SettingsError(f"{word!r} says nothing: write NUMBER=VERDICT; verdicts are {', '.join(VERDICTS)}")
        number = numbers.get(which) or named.get(which)
        if number is None:
            raise SettingsError(
                f"there is no incident {which[:20]!r}: they are numbered from 1 to {len(incidents)}, "
                "and each is called by the eight letters that stand with it"
            )
        if number in found:
            raise SettingsError(f"incident {which} is judged twice")
        found[number] = verdict
    return found


def asked(incidents: Sequence[PastIncident], prompt: Callable[[str], str]) -> dict[int, str]:
    """The same, from whom is asked of one after the other; who answers nothing skips it."""
    found: dict[int, str] = {}
    for number, each in enumerate(incidents, start=1):
        question = (
            f"{number}. {each.onset:%Y-%m-%d %H:%M} {each.title}: real, false-alarm or planned? (r/f/p, or nothing)"
        )
        answer = prompt(question).strip().lower()
        while answer and answer not in VERDICTS and answer not in _LETTERS:
            answer = prompt("r, f, p, or nothing").strip().lower()
        if answer:
            found[number] = _LETTERS.get(answer, answer)
    return found


def advised(
    incidents: Sequence[PastIncident], verdicts: Mapping[int, str], profile: Profile, every_s: float
) -> list[Advice]:
    """What the verdicts call for; `every_s`: seconds between two scrapes of that past."""
    past = [_past(each, verdicts.get(number, UNJUDGED)) for number, each in enumerate(incidents, start=1)]
    return advice(past, profile, every_s)


def _past(incident: PastIncident, verdict: str) -> Past:
    rules = [finding.detector.split(":") for finding in incident.findings]
    alerts = frozenset(":".join(parts[1:-1]) for parts in rules if parts[0] == "prometheus")
    return Past(verdict, alerts, sum(parts[0] == "rule" for parts in rules), incident.ended - incident.onset)


def change_of(found: Sequence[Advice]) -> Change:
    """The settings that are to be other."""
    return Change(set=tuple(f"{each.key}={json.dumps(each.value)}" for each in found if each.value is not None))


def name(incident: PastIncident) -> str:
    """What the incident is called, whenever it is looked at: its number changes when an older one drops out."""
    return _evidence(incident).id[:NAME_LENGTH]


async def keep(
    tenant: str,
    warehouse: Warehouse,
    incidents: Sequence[PastIncident],
    verdicts: Mapping[int, str],
    who: str,
    reason: str,
    clock: Clock = SYSTEM,
) -> int:
    """Keep what was said; gives how many labels are new. The same said again by the same person changes nothing.

    Raises UnknownTenant, WarehouseAway.
    """
    now = clock.now()
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        before = {(each.subject, each.who): each.value for each in await labels.of_subject(tenant, db, SUBJECT)}
        made = []
        for number, verdict in sorted(verdicts.items()):
            shown = _evidence(incidents[number - 1])
            await evidence.put(tenant, db, shown)
            value = f"verdict:{verdict}"
            if before.get((shown.id, who)) != value:  # who changes his mind, and back again, is heard each time
                made.append(
                    Label(digest(SUBJECT, shown.id, value, who, now), SUBJECT, shown.id, value, who, reason, now)
                )
        new = await labels.put(tenant, db, made)
        if new:
            after = {each.subject: each.value for each in made}
            await audit.write(
                tenant,
                db,
                who=who,
                what="backtest.label",
                subject=tenant,
                before={},
                after=after,
                reason=reason,
                at=now,
            )
    return new


def _evidence(incident: PastIncident) -> Evidence:
    return Evidence.of(SUBJECT, incident.onset, "application/json", document(incident).encode())
