"""Who may perform an operation: one rule per route, declared beside it.

`app.py` refuses to build an application in which an operation has none, and writes each into the
OpenAPI document (`x-dormouse-rule`), from which the matrix test is made.
"""

from dataclasses import dataclass
from typing import Any, Literal  # a rule in the OpenAPI document is JSON

import structlog
from fastapi import Depends, Request, params
from fastapi.routing import APIRoute

from dormouse_control.audit.models import Outcome
from dormouse_control.audit.record import record
from dormouse_control.deps import ActorDep, CallerDep, PlatformDep
from dormouse_control.errors import (
    KeyRestricted,
    NotPermitted,
    PlatformError,
    SecondFactorRequired,
    SessionRequired,
)
from dormouse_control.identity.models import Role
from dormouse_control.identity.operations import Caller

log = structlog.get_logger(__name__)

Keys = Literal["any", "unrestricted", "none"]
"""Which API keys will do: all, those that are not narrowed to something, or none."""


@dataclass(frozen=True)
class Rule:
    """`role` is the least that is needed; `keys` says whether an API key is enough."""

    role: Role
    keys: Keys

    def __call__(
        self, request: Request, caller: CallerDep, actor: ActorDep, platform: PlatformDep
    ) -> None:
        need_code = platform.settings.administrators_need_second_factor
        refusal = self.refusal(caller, need_code=need_code)
        if refusal is None:
            return
        if self.role is not Role.USER:
            route: APIRoute = request.scope["route"]
            with platform.database.sessions.begin() as session:
                record(
                    session,
                    "operation.refuse",
                    actor=actor,
                    subject=route.name,
                    now=platform.clock(),
                    outcome=Outcome.REFUSED,
                    details={"code": refusal.code},
                )
        raise refusal

    def refusal(self, caller: Caller, *, need_code: bool) -> PlatformError | None:
        """Why this caller may not; None if they may."""
        if not caller.role.reaches(self.role):
            return NotPermitted(f"Only an {self.role} may do this.")
        if caller.credential == "key" and self.keys == "none":
            return SessionRequired("An API key may not do this. Sign in and use the access token.")
        if caller.restricted and self.keys == "unrestricted":
            return KeyRestricted("This API key is limited to calls of models.")
        if self.role is not Role.USER and need_code and not caller.second_factor:
            return SecondFactorRequired(
                "This needs a sign-in with a code. Set up a second factor and sign in again."
            )
        return None

    def document(self) -> dict[str, Any]:
        return {"role": self.role.value, "keys": self.keys}


class Anyone:
    """Also without a credential; one that is sent is not looked at."""

    async def __call__(self) -> None:
        return

    def document(self) -> dict[str, Any]:
        return {"role": None, "keys": "any"}


ANYONE: params.Depends = Depends(Anyone())
CALLER: params.Depends = Depends(Rule(Role.USER, keys="any"))
FULL_CALLER: params.Depends = Depends(Rule(Role.USER, keys="unrestricted"))
SIGNED_IN: params.Depends = Depends(Rule(Role.USER, keys="none"))
OPERATOR: params.Depends = Depends(Rule(Role.OPERATOR, keys="none"))
ADMINISTRATOR: params.Depends = Depends(Rule(Role.ADMINISTRATOR, keys="none"))


def declared(route: APIRoute) -> Rule | Anyone:
    """The route's rule. Raises TypeError if it has none or several."""
    found = [
        each.dependency for each in route.dependencies if isinstance(each.dependency, Rule | Anyone)
    ]
    if len(found) != 1:
        raise TypeError(f"{route.path} ({route.name}) needs one rule and has {len(found)}")
    return found[0]
