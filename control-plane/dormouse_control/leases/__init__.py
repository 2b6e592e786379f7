"""Pieces of limits and budgets that authorizers hold, so that they decide from memory."""
