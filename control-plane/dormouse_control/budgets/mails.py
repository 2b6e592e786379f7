"""Mail about budgets: to whom it is, or for a group to the administrators."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control.budgets.amounts import shown
from dormouse_control.budgets.decisions import Budget, Subject
from dormouse_control.groups.models import Group
from dormouse_control.identity.models import ApiKey, Period, Role, User, UserStatus
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind

_WHEN = {Period.DAY: "today", Period.MONTH: "this month", Period.TOTAL: "so far"}


def notify(session: Session, budget: Budget, *, spent_nano: int, now: datetime) -> None:
    """Sent if this transaction is committed; nothing if nobody is left to be told."""
    about = (
        f"{_whose(session, budget)} has spent {spent_nano * 100 // budget.limit_nano} %"
        f" of the budget: {shown(spent_nano)} of {shown(budget.limit_nano)} {_WHEN[budget.period]}."
    )
    for user in _receivers(session, budget):
        if user.email is not None:
            outbox.enqueue_limited(
                session, MailKind.BUDGET, address=user.email, user_id=user.id, about=about, now=now
            )


def _whose(session: Session, budget: Budget) -> str:
    if budget.subject is Subject.USER:
        return "Your account"
    if budget.subject is Subject.KEY:
        name = session.scalar(select(ApiKey.name).where(ApiKey.id == budget.subject_id))
        return f"Your API key {name!r}"
    name = session.scalar(select(Group.name).where(Group.id == budget.subject_id))
    return f"The group {name!r}"


def _receivers(session: Session, budget: Budget) -> Sequence[User]:
    living = select(User).where(User.status == UserStatus.ACTIVE).order_by(User.id)
    if budget.subject is Subject.GROUP:
        wanted = living.where(User.role == Role.ADMINISTRATOR)
    elif budget.subject is Subject.KEY:
        wanted = living.join(ApiKey).where(ApiKey.id == budget.subject_id)
    else:
        wanted = living.where(User.id == budget.subject_id)
    return session.scalars(wanted).all()
