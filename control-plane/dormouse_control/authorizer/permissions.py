"""What a principal may, from memory. Pure: each raises a `Refusal` or returns."""

import math

from dormouse_control.authorizer.credentials import Credential
from dormouse_control.authorizer.principals import Principal
from dormouse_control.authorizer.refusals import (
    insufficient_quota,
    invalid_credentials,
    key_restricted,
    not_entitled,
)
from dormouse_control.authorizer.routes import Route
from dormouse_control.identity import addresses


def check_credential(principal: Principal, *, address: str | None, now: float) -> None:
    """Whether the credential is good for a call from `address` at this moment."""
    if principal.expires_at is not None and principal.expires_at <= now:
        raise invalid_credentials()
    ranges = principal.ip_ranges
    if ranges is not None and not addresses.contains(ranges, address):
        raise invalid_credentials()


def check_reach(principal: Principal, route: Route, endpoint: str) -> None:
    """Whether the credential is for such calls."""
    excluded = principal.reach.excludes(service=route.service, model=route.model, endpoint=endpoint)
    if excluded is not None:
        raise key_restricted(excluded)


def check_right(principal: Principal, service: str, *, now: float) -> None:
    """Whether the owner may call the service at this moment."""
    if service not in principal.entitlements:
        raise not_entitled(service)
    end = principal.entitlements[service]
    if end is not None and end <= now:
        raise not_entitled(service)


def valid_until(principal: Principal, credential: Credential, service: str) -> float:
    """Until when, in seconds since 1970, nothing ends by itself of what lets such calls through."""
    ends = (
        principal.expires_at,
        principal.asked_again_at,
        principal.entitlements[service],
        credential.expires_at,
    )
    return min((end for end in ends if end is not None), default=math.inf)


def check_budget(principal: Principal) -> None:
    if principal.over_budget:
        raise insufficient_quota()
