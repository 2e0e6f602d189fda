"""What people say of the incidents of a backtest: kept as labels, with what was judged beside them as evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from console.tenancy import Change
from policy.lessons import Judged, Lesson, lessons
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
_LETTERS = {verdict[0]: verdict for verdict in VERDICTS}


def said(words: Sequence[str], count: int) -> dict[int, str]:
    """Number of the incident, from 1 -> verdict, of `2=real`.

    Raises SettingsError: no such incident, no such verdict, or one that is judged twice.
    """
    found: dict[int, str] = {}
    for word in words:
        number, _, verdict = word.partition("=")
        if verdict not in VERDICTS:
            raise SettingsError(f"{word!r} says nothing: write NUMBER=VERDICT; verdicts are {', '.join(VERDICTS)}")
        if not number.isdigit() or not 1 <= int(number) <= count:
            raise SettingsError(f"there is no incident {number[:20]!r}: they are numbered from 1 to {count}")
        if int(number) in found:
            raise SettingsError(f"incident {number} is judged twice")
        found[int(number)] = verdict
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


def taught(
    incidents: Sequence[PastIncident], verdicts: Mapping[int, str], profile: Profile, every_s: float
) -> list[Lesson]:
    """What the verdicts call for; `every_s`: seconds between two scrapes of that past."""
    return lessons([_judged(incidents[number - 1], said) for number, said in verdicts.items()], profile, every_s)


def _judged(incident: PastIncident, verdict: str) -> Judged:
    rules = [finding.detector.split(":") for finding in incident.findings]
    alerts = frozenset(":".join(parts[1:-1]) for parts in rules if parts[0] == "prometheus")
    return Judged(verdict, alerts, any(parts[0] == "rule" for parts in rules), incident.ended - incident.onset)


def change_of(learned: Sequence[Lesson]) -> Change:
    """The settings that are to be other."""
    return Change(set=tuple(f"{each.key}={json.dumps(each.value)}" for each in learned if each.value is not None))


async def keep(
    tenant: str,
    warehouse: Warehouse,
    incidents: Sequence[PastIncident],
    verdicts: Mapping[int, str],
    who: str,
    reason: str,
    clock: Clock = SYSTEM,
) -> int:
    """Keep what was said; gives how many labels are new. The same said again changes nothing.

    Raises UnknownTenant, WarehouseAway.
    """
    now = clock.now()
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        made = []
        for number, verdict in sorted(verdicts.items()):
            shown = _evidence(incidents[number - 1])
            await evidence.put(tenant, db, shown)
            value = f"verdict:{verdict}"
            made.append(Label(digest(SUBJECT, shown.id, value, who), SUBJECT, shown.id, value, who, reason, now))
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
