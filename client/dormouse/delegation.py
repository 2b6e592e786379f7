"""The token by which the control plane makes a call that a user asked for, in place of their key.

It says whose call it is and for which credential, so that the authorizer can ask what that one may
at this moment. It holds for one request id and for seconds, and only where the authorizer is asked
by the gateway's own socket for such calls (ADR 14).
"""

from dataclasses import dataclass

from dormouse.tokens import ISSUER, PublicKeys, SigningKey, TokenError, decode, sign

DELEGATED_TYPE = "dm-delegated+jwt"
DELEGATED_AUDIENCE = "dormouse-authorizer"
DELEGATED_SECONDS = 60
"""No such token lives longer: it is looked at once, when its call begins."""


@dataclass(frozen=True)
class Delegation:
    """`credential` is the id of a key or session, `request` the call's id; `address` is where the
    user asked from, which a key may be limited to.
    """

    user: str
    credential: str
    request: str
    address: str | None


def sign_delegation(delegation: Delegation, *, key: SigningKey, now: float) -> str:
    claims = {
        "iss": ISSUER,
        "aud": DELEGATED_AUDIENCE,
        "iat": int(now),
        "exp": int(now) + DELEGATED_SECONDS,
        "sub": delegation.user,
        "crd": delegation.credential,
        "rid": delegation.request,
    }
    if delegation.address is not None:
        claims["adr"] = delegation.address
    return sign(claims, typ=DELEGATED_TYPE, key=key)


def verify_delegation(token: str, *, request: str, keys: PublicKeys, now: float) -> Delegation:
    """Whose call `request` is; raises `TokenError`."""
    claims = decode(token, typ=DELEGATED_TYPE, audience=DELEGATED_AUDIENCE, keys=keys, now=now)
    if claims["exp"] - claims["iat"] > DELEGATED_SECONDS:
        raise TokenError("token lives too long")
    for name in ("crd", "rid"):
        if not isinstance(claims.get(name), str):
            raise TokenError(f"{name} is missing")
    if claims["rid"] != request:
        raise TokenError("token for another call")
    address = claims.get("adr")
    if address is not None and not isinstance(address, str):
        raise TokenError("adr is no text")
    return Delegation(claims["sub"], claims["crd"], claims["rid"], address)
