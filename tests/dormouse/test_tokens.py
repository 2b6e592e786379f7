"""The token reader against every trick that RFC 8725 warns of, and some of our own."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dormouse import tokens
from dormouse.tokens import InternalClaims, SigningKey, TokenError

NOW = 1_800_000_000
KEY = SigningKey("internal-1", Ed25519PrivateKey.generate())
OTHER = SigningKey("internal-2", Ed25519PrivateKey.generate())
PUBLIC = {KEY.kid: KEY.private.public_key()}
HEADER: dict[str, Any] = {"alg": "EdDSA", "typ": tokens.INTERNAL_TYPE, "kid": KEY.kid}
PAYLOAD: dict[str, Any] = {
    "iss": "dormouse",
    "aud": tokens.INTERNAL_AUDIENCE,
    "iat": NOW,
    "exp": NOW + 60,
    "sub": "usr_1",
    "crd": "key_1",
    "svc": "chat",
    "mdl": "small",
    "pri": 0,
}
CLAIMS = InternalClaims(
    user="usr_1",
    credential="key_1",
    service="chat",
    model="small",
    priority=0,
    expires_at=NOW + 60,
)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(
    header: dict[str, Any] | str = HEADER,
    payload: dict[str, Any] | str = PAYLOAD,
    *,
    signer: Callable[[bytes], bytes] = KEY.private.sign,
) -> str:
    """A token of any content with a good signature."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    signed = ".".join(b64(part.encode()) for part in parts)
    return f"{signed}.{b64(signer(signed.encode()))}"


def verify(token: str, *, now: float = NOW) -> InternalClaims:
    return tokens.verify_internal(token, service="chat", keys=PUBLIC, now=now)


def header(**changes: Any) -> str:
    return forge(header=HEADER | changes)


def payload(**changes: Any) -> str:
    merged = PAYLOAD | changes
    return forge(payload={name: value for name, value in merged.items() if value is not ...})


def written(name: str, value: str) -> str:
    """A payload whose `name` is spelt as `value`, which json.dumps would not write."""
    return forge(payload=json.dumps(PAYLOAD | {name: "HERE"}).replace('"HERE"', value))


def hs256(key: bytes) -> str:
    sign: Callable[[bytes], bytes] = lambda data: hmac.digest(key, data, hashlib.sha256)  # noqa: E731
    return forge(header=HEADER | {"alg": "HS256"}, signer=sign)


def respelt(token: str) -> str:
    """The same signature bytes with other spare bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    assert base64.urlsafe_b64decode(changed.split(".")[2] + "==") == base64.urlsafe_b64decode(
        token.split(".")[2] + "=="
    )
    return changed


RAW = PUBLIC[KEY.kid].public_bytes(Encoding.Raw, PublicFormat.Raw)
PEM = PUBLIC[KEY.kid].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
GOOD = forge()
HEAD, BODY, SIGNATURE = GOOD.split(".")

ATTACKS = {
    "alg-none": forge(header=HEADER | {"alg": "none"}, signer=lambda _: b""),
    "alg-none-signed": header(alg="none"),
    "alg-None": header(alg="None"),
    "alg-hs256-with-public-bytes": hs256(RAW),
    "alg-hs256-with-public-pem": hs256(PEM),
    "alg-rs256": header(alg="RS256"),
    "alg-missing": forge(header={"typ": tokens.INTERNAL_TYPE, "kid": KEY.kid}),
    "alg-list": header(alg=["EdDSA"]),
    "typ-other": header(typ="at+jwt"),
    "typ-case": header(typ="DM-INTERNAL+JWT"),
    "typ-missing": forge(header={"alg": "EdDSA", "kid": KEY.kid}),
    "kid-unknown": header(kid="internal-9"),
    "kid-other-keys": forge(signer=OTHER.private.sign),
    "kid-path": header(kid="../../etc/passwd"),
    "kid-list": header(kid=[KEY.kid]),
    "kid-missing": forge(header={"alg": "EdDSA", "typ": tokens.INTERNAL_TYPE}),
    "header-crit": header(crit=["exp"]),
    "header-b64": header(b64=False, crit=["b64"]),
    "header-jku": header(jku="https://evil.example/jwks.json"),
    "header-jwk": header(jwk=tokens.public_jwk("x", OTHER.private.public_key())),
    "header-x5u": header(x5u="https://evil.example/cert"),
    "header-duplicate-alg": forge(header='{"alg":"none",' + json.dumps(HEADER)[1:]),
    "header-list": forge(header="[]"),
    "header-deep": forge(header="[" * 3000),
    "claim-duplicate-sub": forge(payload='{"sub":"usr_2",' + json.dumps(PAYLOAD)[1:]),
    "claim-duplicate-nested": forge(payload='{"x":{"a":1,"a":2},' + json.dumps(PAYLOAD)[1:]),
    "claims-list": forge(payload="[]"),
    "claims-null": forge(payload="null"),
    "claims-not-json": forge(payload="{"),
    "claims-not-utf8": f"{HEAD}.{b64(bytes([255, 254, 253]))}.{SIGNATURE}",
    "exp-missing": payload(exp=...),
    "exp-text": payload(exp=str(NOW + 60)),
    "exp-null": payload(exp=None),
    "exp-true": payload(exp=True),
    "exp-float": payload(exp=NOW + 59.5),
    "exp-1e400": written("exp", "1e400"),
    "exp-nan": written("exp", "NaN"),
    "exp-infinity": written("exp", "Infinity"),
    "exp-5000-digits": written("exp", "9" * 5000),
    "exp-past": payload(iat=NOW - 60, exp=NOW),
    "exp-negative": payload(exp=-1),
    "iat-missing": payload(iat=...),
    "iat-text": payload(iat=str(NOW)),
    "iat-far-future": payload(iat=NOW + 61, exp=NOW + 90),
    "nbf-future": payload(nbf=NOW + 1),
    "nbf-text": payload(nbf="0"),
    "nbf-list": payload(nbf=[]),
    "lifetime-61": payload(exp=NOW + 61),
    "iss-other": payload(iss="somebody"),
    "iss-missing": payload(iss=...),
    "aud-other": payload(aud="dormouse"),
    "aud-list": payload(aud=[tokens.INTERNAL_AUDIENCE]),
    "aud-missing": payload(aud=...),
    "sub-missing": payload(sub=...),
    "sub-number": payload(sub=1),
    "svc-other": payload(svc="embeddings"),
    "svc-missing": payload(svc=...),
    "pri-3": payload(pri=3),
    "pri-true": payload(pri=True),
    "pri-text": payload(pri="0"),
    "mdl-missing": payload(mdl=...),
    "crd-null": payload(crd=None),
    "als-number": payload(als=1),
    "ver-list": payload(ver=[]),
    "csm-text": payload(csm="1"),
    "size-over-8-KiB": payload(sub="u" * tokens.MAX_TOKEN_BYTES),
    "size-empty": "",
    "size-dots": "..",
    "parts-two": f"{HEAD}.{BODY}",
    "parts-four": f"{GOOD}.{SIGNATURE}",
    "signature-empty": f"{HEAD}.{BODY}.",
    "signature-truncated": GOOD[:-1],
    "signature-suffixed": GOOD + "A",
    "signature-padded": GOOD + "==",
    "signature-foreign-characters": f"{HEAD}.{BODY}.!{SIGNATURE}",
    "signature-respelt": respelt(GOOD),
    "signature-swapped-case": f"{HEAD}.{BODY}.{SIGNATURE.swapcase()}",
    "payload-swapped-case": f"{HEAD}.{BODY.swapcase()}.{SIGNATURE}",
    "payload-of-another": f"{HEAD}.{payload(sub='usr_2').split('.')[1]}.{SIGNATURE}",
    "space-before": f" {GOOD}",
    "newline-after": f"{GOOD}\n",
    "bearer-before": f"Bearer {GOOD}",
    "not-ascii": f"{HEAD}.{BODY}.\u0410{SIGNATURE[1:]}",
}


def test_the_forged_token_is_good_before_it_is_spoilt() -> None:
    assert verify(GOOD) == CLAIMS
    assert verify(payload(pri=2, nbf=NOW)) == replace(CLAIMS, priority=2)


@pytest.mark.parametrize("token", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        verify(token)


@pytest.mark.parametrize("length", range(0, len(GOOD), 7))
def test_a_truncated_token_is_refused(length: int) -> None:
    with pytest.raises(TokenError):
        verify(GOOD[:length])


def test_claims_survive_signing_and_reading() -> None:
    claims = replace(CLAIMS, alias="gpt-4o-mini", version="ver_1", cold_start_ms=0, priority=1)
    claims = replace(claims, most_urgent=0)
    assert verify(tokens.sign_internal(claims, key=KEY, now=NOW)) == claims


def test_a_token_ends_at_its_second() -> None:
    token = tokens.sign_internal(CLAIMS, key=KEY, now=NOW)
    verify(token, now=NOW + 59.9)
    with pytest.raises(TokenError, match="expired"):
        verify(token, now=NOW + 60)


def test_a_session_token_is_no_internal_token() -> None:
    """Both are signed by keys of the same JWKS; only `typ` and `aud` keep them apart."""
    session = tokens.sign(PAYLOAD | {"aud": "dormouse"}, typ="at+jwt", key=KEY)
    claims = tokens.decode(session, typ="at+jwt", audience="dormouse", keys=PUBLIC, now=NOW)
    assert claims["sub"] == "usr_1"
    with pytest.raises(TokenError):
        verify(session)


def test_jwks_gives_back_the_keys() -> None:
    document = {
        "keys": [tokens.public_jwk(key.kid, key.private.public_key()) for key in (KEY, OTHER)]
    }
    assert set(document["keys"][0]) == {"kty", "crv", "x", "kid", "use", "alg"}
    keys = tokens.read_jwks(json.loads(json.dumps(document)))
    assert set(keys) == {KEY.kid, OTHER.kid}
    assert tokens.verify_internal(GOOD, service="chat", keys=keys, now=NOW) == CLAIMS


@pytest.mark.parametrize(
    "changes", [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"crv": "X25519"}, {"d": b64(b"1" * 32)}]
)
def test_jwks_refuses_other_keys(changes: dict[str, str]) -> None:
    jwk = tokens.public_jwk(KEY.kid, KEY.private.public_key()) | changes
    with pytest.raises(TokenError):
        tokens.read_jwks({"keys": [jwk]})
