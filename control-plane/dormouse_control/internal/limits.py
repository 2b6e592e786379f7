"""The limits that calls of a credential count on: of the key, the user, and each service. Pure."""

from collections.abc import Iterable, Iterator

from dormouse.catalog import Catalog
from dormouse_control.identity.models import ApiKey
from dormouse_control.internal.schemas import LimitRead
from dormouse_control.settings import Settings
from dormouse_control.tiers.models import Tier


def limits(
    *,
    user_id: str,
    tier: Tier,
    key: ApiKey | None,
    entitled: Iterable[str],
    catalog: Catalog,
    settings: Settings,
) -> list[LimitRead]:
    """The narrowest first: what it refuses takes nothing from the others."""
    found = list(_of_services(user_id, entitled, catalog))
    if key is not None:
        found.append(
            LimitRead(
                subject=key.id,
                service=None,
                requests_per_minute=key.requests_per_minute,
                tokens_per_minute=key.tokens_per_minute,
                concurrent=key.concurrent_calls,
            )
        )
    found.append(
        LimitRead(
            subject=user_id,
            service=None,
            requests_per_minute=tier.requests_per_minute or settings.requests_per_minute,
            tokens_per_minute=tier.tokens_per_minute or settings.tokens_per_minute,
            concurrent=tier.concurrent_calls or settings.concurrent_calls,
        )
    )
    return [each for each in found if _limits_something(each)]


def _of_services(user_id: str, entitled: Iterable[str], catalog: Catalog) -> Iterator[LimitRead]:
    for name in sorted(entitled):
        if name in catalog.services:  # a right may be left of a service that there was
            of_service = catalog.services[name].spec.limits
            yield LimitRead(
                subject=f"{user_id}/{name}",
                service=name,
                requests_per_minute=of_service.requests_per_minute,
                tokens_per_minute=of_service.tokens_per_minute,
                concurrent=of_service.concurrent_calls,
            )


def _limits_something(limit: LimitRead) -> bool:
    numbers = (limit.requests_per_minute, limit.tokens_per_minute, limit.concurrent)
    return any(number is not None for number in numbers)
