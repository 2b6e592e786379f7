"""What a key may be narrowed to, and that it never gets more than its owner has at that moment.

What the owner loses later, the key loses with them: both are looked at again with every call.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any  # columns of a key

from dormouse.catalog import Catalog, Profile, Route
from dormouse.prices import NANO
from dormouse_control.budgets.amounts import nano
from dormouse_control.errors import InvalidValue, NotPermitted
from dormouse_control.identity.keys_schemas import KeyLimits
from dormouse_control.identity.models import ApiKey, Period
from dormouse_control.identity.reach import reach

LONGEST_LIFE = timedelta(days=5 * 365 + 2)
_RATES = ("requests_per_minute", "tokens_per_minute", "concurrent_calls")
_PLAIN = ("expires_at", "services", "models", "endpoints", "ip_ranges", "tags", *_RATES)


@dataclass(frozen=True)
class Offer:
    """What there is to be named."""

    services: Collection[str]
    routes: Mapping[str, Route]

    @classmethod
    def of(cls, catalog: Catalog, profile: Profile) -> "Offer":
        return cls(catalog.services, catalog.routes(profile))

    @property
    def endpoints(self) -> set[str]:
        return {endpoint for route in self.routes.values() for endpoint in route.endpoints}


@dataclass(frozen=True)
class Owner:
    """What the owner may at this moment. No budget: as much as they like."""

    rights: Collection[str]
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    monthly_budget_nano: int | None


def columns(sent: KeyLimits, *, owner: Owner, offer: Offer, now: datetime) -> dict[str, Any]:
    """The columns of a key that `sent` names. Raises `InvalidValue` or `NotPermitted`."""
    given = {name: getattr(sent, name) for name in _PLAIN if name in sent.model_fields_set}
    _check_expiry(given.get("expires_at"), now=now)
    _check_services(given.get("services"), owner=owner, offer=offer)
    if given.get("models") is not None:
        given["models"] = _own_names(given["models"], owner=owner, offer=offer)
    _check_endpoints(given.get("endpoints"), offer=offer)
    for name in _RATES:
        _check_rate(name, given.get(name), most=getattr(owner, name))
    if "budget" in sent.model_fields_set:
        given |= _budget(sent, owner=owner)
    return given


def check_reach(key: ApiKey, *, offer: Offer) -> None:
    """Raises `InvalidValue` if the limits leave nothing that the key may call."""
    narrowed = reach(key.services, key.models, key.endpoints)
    if not narrowed.restricted:
        return
    if not any(
        narrowed.includes(service=route.service, model=route.model, endpoints=route.endpoints)
        for route in offer.routes.values()
    ):
        raise InvalidValue(
            "These limits exclude each other: no model of these services answers there."
        )


def narrows(key: ApiKey, changed: Mapping[str, Any]) -> bool:
    """Whether calls that run with the key might not be allowed any more."""
    for name in ("services", "models", "endpoints", "ip_ranges"):
        old, new = getattr(key, name), changed.get(name)
        if new is not None and (old is None or not set(old) <= set(new)):
            return True
    end = changed.get("expires_at")
    return end is not None and (key.expires_at is None or end < key.expires_at)


def _check_expiry(end: datetime | None, *, now: datetime) -> None:
    if end is None:
        return
    if end <= now:
        raise InvalidValue("expires_at lies in the past.", param="expires_at")
    if end > now + LONGEST_LIFE:
        raise InvalidValue("expires_at: a key may live for five years.", param="expires_at")


def _check_services(names: list[str] | None, *, owner: Owner, offer: Offer) -> None:
    for name in names or ():
        if name not in offer.services:
            raise InvalidValue(
                f"There is no service {name!r}. GET /api/v1/services lists them.", param="services"
            )
        _check_right(name, owner=owner, param="services")


def _own_names(names: list[str], *, owner: Owner, offer: Offer) -> list[str]:
    """Other names are put down as the model they mean now: what they mean may change."""
    found = set()
    for name in names:
        route = offer.routes.get(name)
        if route is None:
            raise InvalidValue(
                f"There is no model {name!r}. GET /v1/models lists them.", param="models"
            )
        _check_right(route.service, owner=owner, param="models")
        found.add(route.model)
    return sorted(found)


def _check_right(service: str, *, owner: Owner, param: str) -> None:
    if service not in owner.rights:
        raise NotPermitted(
            f"You are not entitled to the service {service!r}, so no key of yours can be.",
            param=param,
        )


def _check_endpoints(names: list[str] | None, *, offer: Offer) -> None:
    for name in names or ():
        if name not in offer.endpoints:
            known = ", ".join(sorted(offer.endpoints))
            raise InvalidValue(
                f"There is no endpoint {name!r}; there are {known}.", param="endpoints"
            )


def _check_rate(name: str, wanted: int | None, *, most: int) -> None:
    if wanted is not None and wanted > most:
        raise NotPermitted(f"You may have {most} {_SAID[name]}, and no key more.", param=name)


_SAID = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "concurrent_calls": "calls at the same time",
}


def _budget(sent: KeyLimits, *, owner: Owner) -> dict[str, Any]:
    if sent.budget is None:
        return {"budget_nano": None, "budget_period": None}
    amount = nano(sent.budget.amount)
    most = owner.monthly_budget_nano
    if most is not None and amount > most:
        raise NotPermitted(
            f"Your own budget is {most / NANO:g} a month, and no key's is larger.", param="budget"
        )
    return {"budget_nano": amount, "budget_period": Period(sent.budget.period)}
