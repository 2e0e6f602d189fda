"""What a person says of something that two models disagree on, in one transaction: the label, the answered question and
the audit line. How far he is believed is decided by all labels together (ml/labelling.py).
"""

from __future__ import annotations

from datetime import datetime

from tonewatch import acts
from tonewatch.errors import ActRefused
from tonewatch.records import ActKind, Label, digest
from warehouse import audit, labels, questions, tenants, validations
from warehouse.acts import Done, Wish, check
from warehouse.database import Warehouse


async def answer(tenant: str, warehouse: Warehouse, wish: Wish, now: datetime) -> Done:
    """Keep that the disagreement (`wish.incident`: its id) was real, or false; the author's last word counts.

    Raises UnknownTenant; ActRefused: there is no such disagreement, or he said so already; SettingsError: a name that
    is none; WarehouseAway.
    """
    check(wish)
    value = acts.JUDGES[wish.kind]
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        found = await validations.disagreement(tenant, db, wish.incident)
        if found is None:
            raise ActRefused(f"models of {tenant} disagree on nothing called {wish.incident!r}: see `incidents ask`")
        said = [each for each in await labels.of_subject(tenant, db, validations.SUBJECT) if each.subject == found.id]
        if refusal := acts.why_not_judge(said, wish.who, value):
            raise ActRefused(f"{wish.kind} of {found.id} is refused: {refusal}")
        id_ = digest(validations.SUBJECT, found.id, wish.kind.value, wish.who, len(said))
        label = Label(id_, validations.SUBJECT, found.id, value, wish.who, wish.reason, now)
        if not await labels.put(tenant, db, [label]):
            raise ActRefused(f"{wish.kind} of {found.id} was said already")
        await questions.answered(tenant, db, found.id, now)
        await audit.write(
            tenant,
            db,
            who=wish.who,
            what=f"disagreement.{wish.kind}",
            subject=found.id,
            before=None,
            after={"label": value},
            reason=wish.reason,
            at=now,
        )
    verdict = "was real" if wish.kind is ActKind.REAL else "was a false alarm"
    return Done(found.id, (label,), (f"{wish.who} says that what {found.entity} showed {verdict}",))
