"""What a principal may, from memory. Pure: each raises a `Refusal` or returns."""

import math
from collections.abc import Mapping

from dormouse_control.authorizer.credentials import Credential
from dormouse_control.authorizer.principals import Principal
from dormouse_control.authorizer.refusals import (
    Refusal,
    body_too_large,
    insufficient_quota,
    invalid_credentials,
    key_restricted,
    no_gpu,
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


def check_call(principal: Principal, route: Route, endpoint: str, *, size: int | None) -> None:
    """Whether the credential, what is left of the budget and the body's length allow such a call.

    `size` is in bytes; None if the caller did not say.
    """
    check_reach(principal, route, endpoint)
    check_budget(principal, route)
    check_body(size, max_body(principal, route))


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


def right_ends(principal: Principal, service: str) -> int | None:
    """When a call that runs must end, in seconds since 1970, because the key, the session or the
    right does. A session's access token is not asked: it is renewed meanwhile.
    """
    ends = (principal.expires_at, principal.entitlements[service])
    return min((int(end) for end in ends if end is not None), default=None)


def check_budget(principal: Principal, route: Route) -> None:
    if principal.over_budget:
        raise insufficient_quota()
    if principal.refuse_gpu and route.gpu:
        raise no_gpu()


def max_body(principal: Principal, route: Route) -> int | None:
    """In bytes; None: as many as the gateway takes."""
    limits = (principal.max_body, route.max_body)
    return min((each for each in limits if each is not None), default=None)


def check_body(sent: int | None, most: int | None) -> None:
    """`sent` is None if the caller did not say."""
    if sent is not None and most is not None and sent > most:
        raise body_too_large(most)


def allowed_priority(headers: Mapping[str, str], principal: Principal) -> int:
    """0 is the most urgent; nobody gets more urgent than the tier allows."""
    asked = headers.get("x-dormouse-priority", "1")
    if asked not in ("0", "1", "2"):
        raise Refusal(400, "invalid_value", "x-dormouse-priority must be 0, 1 or 2.", "priority")
    return max(int(asked), principal.highest_priority)
