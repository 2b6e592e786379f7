"""Budgets: how much money calls may cost, per user, key and group, and what follows from it."""

from dormouse_control.budgets.decisions import Budget
from dormouse_control.budgets.reading import of_many, spent
from dormouse_control.budgets.watching import announce, watch

__all__ = ["Budget", "announce", "of_many", "spent", "watch"]
