"""What an operator sees of labels: what is to be asked next, and how far each person is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml.agreement import Agreement
from tasks.judge import opinion_of
from warehouse import authors
from warehouse.authors import Weight
from warehouse.database import Warehouse
from warehouse.questions import Question


@dataclass(frozen=True, slots=True)
class Believed:
    """Each author's newest weight, and how far all agree now."""

    authors: Sequence[Weight]
    agreement: Agreement

    @classmethod
    async def read(cls, tenant: str, warehouse: Warehouse) -> Believed:
        """As it stands. Raises WarehouseAway."""
        async with warehouse.as_tenant(tenant) as db:
            return cls(await authors.weights(tenant, db), (await opinion_of(tenant, db)).agreement)


def asked(questions: Sequence[Question], tenant: str) -> str:
    """The questions for people, each with the commands that answer it. tenant: to be named in them, or empty."""
    if not questions:
        return "Nothing is to be asked: what could be learned from is settled."
    return "\n\n".join(_one(each, f" --tenant {tenant}" if tenant else "") for each in questions)


def _one(question: Question, where: str) -> str:
    lines = [f"{question.title} ({question.subject_kind} {question.subject})"]
    lines.append(f"  why: {question.why}; worth {question.worth:.2f}")
    lines += [f"  {_shown(name, value)}" for name, value in question.shown.items()]
    if question.subject_kind == "incident":
        lines += [
            f"  tonewatch incidents show {question.subject}{where}",
            f"  tonewatch incidents real {question.subject}{where}",
            f"  tonewatch incidents false {question.subject}{where}",
        ]
    if question.subject_kind == "disagreement":
        lines += [f"  tonewatch models {word} {question.subject}{where}" for word in ("real", "false")]
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(value, list):
        return f"{words}: " + "; ".join(
            " ".join(str(one) for one in each.values()) if isinstance(each, dict) else str(each) for each in value
        )
    return f"{words}: {value}"


def believed(found: Believed) -> str:
    """A line for each author, and one on how far all agree."""
    if not found.authors:
        return "Nobody has judged an incident yet, or the hourly round has not looked at it."
    lines = [f"{'author':<28}{'weight':>7}{'accuracy':>10}{'labels':>8}  since"]
    for each in found.authors:
        state = f"  in quarantine: {each.reason}" if each.quarantined else ""
        lines.append(
            f"{each.author:<28.28}{each.weight:>7.2f}{each.accuracy:>10.2f}{each.votes:>8}  {each.made:%Y-%m-%d}{state}"
        )
    alpha = found.agreement
    if alpha.alpha is None:
        lines.append("How far they agree is not known: too few incidents that two have judged.")
    else:
        lines.append(
            f"Krippendorff's alpha {alpha.alpha:.2f} ({alpha.low:.2f} to {alpha.high:.2f}) "
            f"on {alpha.incidents} incidents."
        )
    return "\n".join(lines)
