"""What stands in the way of one more call, and how to say so. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.pieces import Money, Rate, Slots
from dormouse_control.authorizer.refusals import (
    Refusal,
    budget_reserved,
    control_plane_unavailable,
    insufficient_quota,
    rate_limited,
    tokens_limited,
    too_many_at_once,
)

SPENT_SECONDS = 1.0
"""A spent budget is asked about again so often: it may have been raised."""


@dataclass(frozen=True)
class Shortage:
    """`need` is what one more call takes of the piece."""

    piece: Rate | Slots | Money
    need: float


def shortages(account: Account, *, partial: bool = False) -> list[Shortage]:
    """With `partial`, the last of a budget lets one call through whatever it may cost.

    That is how a budget can be spent to its end: it is passed by less than the most that one call
    costs. Nobody else may have any of it then, or several would do so at once.
    """
    return list(_shortages(account, partial))


def _shortages(account: Account, partial: bool) -> Iterator[Shortage]:
    for rate in account.requests:
        if rate.free < 1:
            yield Shortage(rate, 1)
    for rate in account.tokens:
        need = account.tokens_of_a_call(rate)
        if rate.free < need:
            yield Shortage(rate, need)
    for slots in account.slots:
        if slots.free < 1:
            yield Shortage(slots, 1)
    money = account.money
    if money is None or not account.reserve or money.free >= account.reserve:
        return
    if not (partial and money.free > 0 and not money.others):
        yield Shortage(money, account.reserve)


def is_final(shortage: Shortage, *, now: float) -> bool:
    """Whether asking again would find no more at this moment."""
    piece = shortage.piece
    if isinstance(piece, Money) and piece.state == "spent":
        return now - piece.asked_at < SPENT_SECONDS
    if piece.others:
        return False
    return isinstance(piece, Rate) and piece.seconds_until(shortage.need, now) > 0


def is_exhausted(piece: Rate | Slots | Money, *, moments: int) -> bool:
    """Whether nothing more of it is to be had, as far as the last answer says.

    A call may have ended whose end is not heard of yet: for that some moments are waited.
    """
    if piece.others or isinstance(piece, Rate):
        return False
    if isinstance(piece, Slots):
        return piece.held >= piece.limit and moments > 2
    return piece.state != "ok"


def refusal(shortage: Shortage, *, down: bool, now: float) -> Refusal:
    piece = shortage.piece
    if isinstance(piece, Slots):
        return too_many_at_once(piece.limit)
    if isinstance(piece, Money):
        if down:
            return control_plane_unavailable()
        return insufficient_quota() if piece.state == "spent" else budget_reserved()
    wait = max(piece.seconds_until(shortage.need, now), 0.001)
    limited = rate_limited if piece.kind == "requests" else tokens_limited
    return limited(round(piece.capacity), wait=wait)


def limits_header(account: Account, *, alone: bool, now: float) -> str:
    """What is left of the tightest limits, for `x-ratelimit-*`.

    "requests limit,remaining,reset,tokens limit,remaining,reset", empty where there is none.
    """
    parts = []
    for rates in (account.requests, account.tokens):
        if not rates:
            parts.append(",,")
            continue
        rate = min(rates, key=lambda each: each.remaining(alone=alone, now=now))
        left = math.floor(rate.remaining(alone=alone, now=now))
        full = (rate.capacity - left) * 60 / rate.capacity
        parts.append(f"{rate.capacity:.0f},{left},{duration(full)}")
    return ",".join(parts)


def duration(seconds: float) -> str:
    """As OpenAI writes it: "120ms", "1s", "6m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
