"""Signed tokens: one strict reader for all of them, and the internal token that predictors believe.

Rules follow RFC 8725 and RFC 9068. No JWT library checks `typ`, duplicate claims or the type of
`exp`, so `decode` reads header and payload itself before PyJWT verifies the signature.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any  # claims are JSON of any shape until they are checked

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ISSUER = "dormouse"
MAX_TOKEN_BYTES = 8192
SESSION_TYPE = "at+jwt"
SESSION_AUDIENCE = "dormouse"
INTERNAL_TYPE = "dm-internal+jwt"
INTERNAL_AUDIENCE = "dormouse-predictor"
INTERNAL_MAX_SECONDS = 60
MAX_SECONDS = 3600
"""No token of any kind lives longer."""

_LAST_SECOND = 2**53
_ID = re.compile(r"\w{1,64}", re.ASCII)

PublicKeys = Mapping[str, Ed25519PublicKey]
"""Key id -> public key. Every key of ours is Ed25519, so a key id pins the algorithm too."""


class TokenError(Exception):
    """The token is not one of ours, not for this use, or no longer valid."""


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private: Ed25519PrivateKey


@dataclass(frozen=True)
class SessionClaims:
    """What an access token says. Whether the session lives is another question."""

    user: str
    session: str
    expires_at: int


@dataclass(frozen=True)
class InternalClaims:
    """What a predictor may believe about a call.

    `model` is the model really used; `alias` the name that the caller wrote, where it differs.
    `cold_start_ms` is set on the one call that woke the service. `revocation` is the number of the
    last revocation that the signer knew when it looked the caller up; later ones end the call.
    `until`, in seconds since 1970, is when the right to call ends by itself. `authorizer` is where
    meters of the call go, under the name `account` (`dormouse.meters`); `lease` is the piece of a
    budget that pays for it. `max_queued` calls of this user may wait; `max_body` is in bytes. A
    body that asks for another priority gets it, but none below `most_urgent`.
    """

    user: str
    credential: str
    service: str
    model: str
    priority: int
    expires_at: int
    alias: str | None = None
    version: str | None = None
    cold_start_ms: int | None = None
    revocation: int | None = None
    until: int | None = None
    authorizer: str | None = None
    account: int | None = None
    lease: str | None = None
    max_queued: int | None = None
    max_body: int | None = None
    most_urgent: int | None = None

    def asked_for(self, priority: int | None) -> "InternalClaims":
        """As the body says, of which the gateway has not always seen all."""
        if priority is None or self.most_urgent is None:
            return self
        return replace(self, priority=max(priority, self.most_urgent))


_OPTIONAL: Mapping[str, tuple[str, type]] = {
    "alias": ("als", str),
    "version": ("ver", str),
    "cold_start_ms": ("csm", int),
    "revocation": ("rvs", int),
    "until": ("til", int),
    "authorizer": ("aut", str),
    "account": ("acc", int),
    "lease": ("lse", str),
    "max_queued": ("que", int),
    "max_body": ("bod", int),
    "most_urgent": ("urg", int),
}
"""Field -> claim and its type."""


def sign(claims: Mapping[str, Any], *, typ: str, key: SigningKey) -> str:
    return jwt.encode(
        dict(claims), key.private, algorithm="EdDSA", headers={"typ": typ, "kid": key.kid}
    )


def decode(token: str, *, typ: str, audience: str, keys: PublicKeys, now: float) -> dict[str, Any]:
    """The claims of a valid token.

    Raises `TokenError` for anything else: too long, wrong type, unknown key, duplicate or
    ill-typed claims, bad signature, other audience or issuer, expired, not yet valid.
    """
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenError("not a token")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("not a token")
    header = _strict_json(parts[0])
    if set(header) != {"alg", "typ", "kid"} or header["alg"] != "EdDSA" or header["typ"] != typ:
        raise TokenError("wrong kind of token")
    key = keys.get(header["kid"]) if isinstance(header["kid"], str) else None
    if key is None:
        raise TokenError("unknown signing key")
    claims = _strict_json(parts[1])
    try:
        _bytes(parts[2])
        jwt.decode(token, key, algorithms=["EdDSA"], options=_SIGNATURE_ONLY)
    except (jwt.PyJWTError, ValueError) as error:
        raise TokenError("signature does not verify") from error
    _check_claims(claims, audience=audience, now=now)
    return claims


# Our own checks below are stricter than the library's, which must not run with its own clock.
_SIGNATURE_ONLY: jwt.types.Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


def _strict_json(part: str) -> dict[str, Any]:
    try:
        found = json.loads(
            _bytes(part), object_pairs_hook=_no_duplicates, parse_constant=_no_constants
        )
    except (ValueError, RecursionError) as error:
        raise TokenError("not a token") from error
    if not isinstance(found, dict):
        raise TokenError("not a token")
    return found


def _bytes(part: str) -> bytes:
    """Decodes only the one canonical spelling.

    The library skips foreign characters and ignores the last character's spare bits, so that one
    signature would have many spellings.
    """
    raw: bytes = jwt.utils.base64url_decode(part)
    if jwt.utils.base64url_encode(raw).decode() != part:
        raise ValueError("not canonical base64url")
    return raw


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _no_constants(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _check_claims(claims: Mapping[str, Any], *, audience: str, now: float) -> None:
    if claims.get("iss") != ISSUER or claims.get("aud") != audience:
        raise TokenError("token for somebody else")
    for name in ("exp", "iat"):
        if not _is_time(claims.get(name)):
            raise TokenError(f"{name} is not a time")
    if not _is_id(claims.get("sub")):
        raise TokenError("sub is no id")
    if claims["exp"] <= now:
        raise TokenError("token has expired")
    if claims["exp"] - claims["iat"] > MAX_SECONDS:
        raise TokenError("token lives too long")
    if "nbf" in claims and not _is_time(claims["nbf"]):
        raise TokenError("nbf is not a time")
    if claims["iat"] > now + 60 or claims.get("nbf", now) > now:
        raise TokenError("token is not valid yet")


def _is_time(value: object) -> bool:
    """In whole seconds since 1970; True and 1.0 are none."""
    return type(value) is int and 0 <= value < _LAST_SECOND


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def verify_session(token: str, *, keys: PublicKeys, now: float) -> SessionClaims:
    """Whose session an access token is for; raises `TokenError`."""
    claims = decode(token, typ=SESSION_TYPE, audience=SESSION_AUDIENCE, keys=keys, now=now)
    if not _is_id(claims.get("sid")):
        raise TokenError("sid is no id")
    return SessionClaims(user=claims["sub"], session=claims["sid"], expires_at=claims["exp"])


def sign_internal(claims: InternalClaims, *, key: SigningKey, now: float) -> str:
    body: dict[str, Any] = {
        "iss": ISSUER,
        "aud": INTERNAL_AUDIENCE,
        "iat": int(now),
        "exp": claims.expires_at,
        "sub": claims.user,
        "crd": claims.credential,
        "svc": claims.service,
        "mdl": claims.model,
        "pri": claims.priority,
    }
    given = {claim: getattr(claims, field) for field, (claim, _) in _OPTIONAL.items()}
    body |= {claim: value for claim, value in given.items() if value is not None}
    return sign(body, typ=INTERNAL_TYPE, key=key)


def verify_internal(token: str, *, service: str, keys: PublicKeys, now: float) -> InternalClaims:
    """The claims of an internal token for `service`; raises `TokenError`."""
    claims = decode(token, typ=INTERNAL_TYPE, audience=INTERNAL_AUDIENCE, keys=keys, now=now)
    if claims["exp"] - claims["iat"] > INTERNAL_MAX_SECONDS:
        raise TokenError("token lives too long")
    if claims.get("svc") != service:
        raise TokenError("token for another service")
    if type(claims.get("pri")) is not int or claims["pri"] not in (0, 1, 2):
        raise TokenError("pri is not 0, 1 or 2")
    for name in ("crd", "mdl"):
        if not isinstance(claims.get(name), str):
            raise TokenError(f"{name} is missing")
    for name, kind in _OPTIONAL.values():
        if name in claims and type(claims[name]) is not kind:
            raise TokenError(f"{name} is not {kind.__name__}")
    return InternalClaims(
        user=claims["sub"],
        credential=claims["crd"],
        service=service,
        model=claims["mdl"],
        priority=claims["pri"],
        expires_at=claims["exp"],
        **{field: claims.get(claim) for field, (claim, _) in _OPTIONAL.items()},
    )


def public_jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    found = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key))
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": found["x"],
        "kid": kid,
        "use": "sig",
        "alg": "EdDSA",
    }


def read_jwks(document: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """Key id -> public key of a JWKS document; raises `TokenError` if a key is not Ed25519."""
    keys: dict[str, Ed25519PublicKey] = {}
    for jwk in document["keys"]:
        try:
            key = jwt.algorithms.OKPAlgorithm.from_jwk(dict(jwk))
        except jwt.InvalidKeyError as error:
            raise TokenError(f"key {jwk.get('kid')} is not Ed25519") from error
        if not isinstance(key, Ed25519PublicKey):
            raise TokenError(f"key {jwk.get('kid')} is not a public Ed25519 key")
        keys[jwk["kid"]] = key
    return keys
