"""Keeps the prices that calls were charged by, so that every charge can be computed again."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse.catalog.schemas import Prices
from dormouse_control import bulk
from dormouse_control.ledger.models import PriceList
from dormouse_control.usage.models import UsageEntry


@dataclass(frozen=True)
class Priced:
    """A service's prices, and under which id they are kept."""

    id: str
    prices: Prices
    text: str


def priced(prices: Prices) -> Priced:
    text = prices.model_dump_json()
    return Priced(hashlib.sha256(text.encode()).hexdigest()[:16], prices, text)


def keep(session: Session, used: Collection[Priced]) -> None:
    """Store those that nobody was charged by before."""
    wanted = {each.id: each for each in used}
    kept = set(session.scalars(select(PriceList.id).where(PriceList.id.in_(sorted(wanted)))))
    rows = [(id, each.text) for id, each in sorted(wanted.items()) if id not in kept]
    bulk.insert_new(session, PriceList, ("id", "prices"), rows, unique="id")


def last(session: Session, service: str) -> Priced | None:
    """By what its calls were charged last; None if it was never called."""
    wanted = (
        select(PriceList.prices)
        .join(UsageEntry, UsageEntry.prices_id == PriceList.id)
        .where(UsageEntry.service == service)
        .order_by(UsageEntry.id.desc())
        .limit(1)
    )
    text = session.scalar(wanted)
    return priced(Prices.model_validate_json(text)) if text is not None else None


def read_all(reading: Session) -> Mapping[str, Prices]:
    """Raises ValueError if one of them is no price list."""
    rows = reading.execute(select(PriceList.id, PriceList.prices))
    return {row.id: Prices.model_validate_json(row.prices) for row in rows}
