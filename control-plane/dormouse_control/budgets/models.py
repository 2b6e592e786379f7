"""Tables: budgets that administrators set, and of which thresholds somebody was told."""

from datetime import datetime
from typing import Any  # thresholds are JSON

from sqlalchemy import JSON, BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.budgets.decisions import Action, Subject
from dormouse_control.db import Base, choice
from dormouse_control.identity.models import Period


class SetBudget(Base):
    """`subject_id` is the id of a user, key or group. `limit_nano` in billionths of the currency.

    `thresholds` is a list of {"at_percent", "action"}.
    """

    __tablename__ = "budget"
    __table_args__ = (UniqueConstraint("subject_id", "period"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    subject: Mapped[Subject] = mapped_column(choice(Subject, "subject"))
    subject_id: Mapped[str] = mapped_column(String(30))
    period: Mapped[Period] = mapped_column(choice(Period, "period"))
    limit_nano: Mapped[int] = mapped_column(BigInteger)
    thresholds: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class BudgetNotice(Base):
    """This threshold of this budget was passed in the period that began then, and that was told.

    `threshold_nano` is the amount and not the share: after the limit was changed it is told anew.
    """

    __tablename__ = "budget_notice"

    budget: Mapped[str] = mapped_column(String(40), primary_key=True)
    begins: Mapped[datetime] = mapped_column(primary_key=True)
    threshold_nano: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    action: Mapped[Action] = mapped_column(choice(Action, "action"), primary_key=True)
