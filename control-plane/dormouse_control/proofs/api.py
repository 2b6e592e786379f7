"""HTTP of what somebody signs in with: the password and the second factor."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import ActorDep, CallerDep, PlatformDep, UserAgentDep
from dormouse_control.identity.schemas import Tokens
from dormouse_control.identity.sessions import TokenPair
from dormouse_control.proofs import changes
from dormouse_control.proofs.schemas import (
    Enrolled,
    PasswordChange,
    RecoveryCodes,
    SecondFactorCode,
    SecondFactorRemove,
    SecondFactorStart,
)
from dormouse_control.proofs.second_factor import Enrolment

router = APIRouter(prefix="/api/v1/me")


@router.put("/password", response_model=Tokens, dependencies=[rules.SIGNED_IN])
def change_password(
    body: PasswordChange,
    caller: CallerDep,
    actor: ActorDep,
    platform: PlatformDep,
    user_agent: UserAgentDep = None,
) -> TokenPair:
    """Change your password. Every session ends; the answer is a new one."""
    return changes.change_password(
        platform,
        caller=caller,
        current=body.current,
        new=body.new,
        actor=actor,
        user_agent=user_agent,
    )


@router.post(
    "/second-factor", status_code=201, response_model=Enrolled, dependencies=[rules.SIGNED_IN]
)
def begin_second_factor(
    body: SecondFactorStart, caller: CallerDep, actor: ActorDep, platform: PlatformDep
) -> Enrolment:
    """A secret for an authenticator app. It counts once a code of it was confirmed."""
    return changes.begin_second_factor(platform, caller=caller, password=body.password, actor=actor)


@router.post("/second-factor/confirm", response_model=RecoveryCodes, dependencies=[rules.SIGNED_IN])
def confirm_second_factor(
    body: SecondFactorCode, caller: CallerDep, actor: ActorDep, platform: PlatformDep
) -> RecoveryCodes:
    """Switch the second factor on. Every other session ends; this one counts as with a code."""
    codes = changes.confirm_second_factor(platform, caller=caller, code=body.code, actor=actor)
    return RecoveryCodes(recovery_codes=codes)


@router.post("/second-factor/remove", status_code=204, dependencies=[rules.SIGNED_IN])
def remove_second_factor(
    body: SecondFactorRemove, caller: CallerDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Switch the second factor off, with a password long enough to do alone."""
    changes.remove_second_factor(
        platform, caller=caller, password=body.password, code=body.code, actor=actor
    )
