"""Budgets end with what they are for."""

from collections.abc import Collection

from sqlalchemy import delete
from sqlalchemy.orm import Session

from dormouse_control.budgets.models import BudgetNotice, SetBudget


def forget(session: Session, subject_ids: Collection[str]) -> None:
    """All budgets of these users, keys and groups, and what was told of them."""
    here = SetBudget.subject_id.in_(subject_ids)
    ids = session.scalars(delete(SetBudget).where(here).returning(SetBudget.id)).all()
    own = [f"{source}:{id}" for source in ("key", "tier") for id in subject_ids]
    session.execute(delete(BudgetNotice).where(BudgetNotice.budget.in_([*ids, *own])))
