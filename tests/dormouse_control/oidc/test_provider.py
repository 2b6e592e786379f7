"""What is believed of a provider's documents and tokens, and what is not."""

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dormouse_control.errors import Busy, PlatformError, ProviderUnavailable
from dormouse_control.oidc import fetching
from dormouse_control.oidc.documents import Documents
from dormouse_control.wiring import Platform
from fixtures.oidc import RSA, Browser, Signer, TinyProvider, new_signer, query_of, sign_with_secret

Claims = dict[str, Any]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_every_algorithm_of_ours_signs_people_in(
    algorithm: str, browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.signers = [new_signer("ES256"), new_signer(algorithm)]
    tiny_provider.make_token = tiny_provider.signers[1].sign

    assert browser.sign_in("tiny", tiny_provider, "bob").status_code == 201


LIES: dict[str, Claims] = {
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "somebody-else"},
    "audience of another type": {"aud": 7},
    "no audience": {"aud": None},
    "several audiences without azp": {"aud": ["dormouse", "other"]},
    "several audiences, made for another": {"aud": ["dormouse", "other"], "azp": "other"},
    "audiences without us": {"aud": ["other"], "azp": "dormouse"},
    "made for another": {"azp": "other"},
    "another nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 7},
    "expired": {"exp": 1},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "an end that is true": {"exp": True},
    "an end that is infinite": {"exp": float("inf")},
    "issued in the future": {"iat": 9_999_999_999},
    "issued long ago": {"iat": 1_000_000_000},
    "not issued": {"iat": None},
    "not yet": {"nbf": 9_999_999_999},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "x" * 256},
    "subject that is a number": {"sub": 7},
    "subject with NUL": {"sub": "a\x00b"},
    "subject beyond ASCII": {"sub": "ünter"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_token_that_is_not_for_us_here_and_now_is_refused(
    lie: Claims, browser: Browser, tiny_provider: TinyProvider
) -> None:
    # PyJWT would not sign some of these.
    tiny_provider.make_token = lambda claims: _signed(tiny_provider.signers[0], claims)

    assert browser.refused("tiny", tiny_provider, "bob", **lie) == "provider_refused"
    assert browser.sign_in("tiny", tiny_provider, "bob").status_code == 201


@pytest.mark.parametrize(
    "audience",
    [{"aud": ["dormouse"]}, {"aud": ["dormouse", "other"], "azp": "dormouse"}],
    ids=["a list of us", "several and made for us"],
)
def test_other_forms_of_our_audience_are_taken(
    audience: Claims, browser: Browser, tiny_provider: TinyProvider
) -> None:
    back = tiny_provider.consent(browser.begin("tiny"), "bob", **audience)

    assert set(browser.come_back(back)) == {"code"}


def _unsigned(claims: Claims) -> str:
    return jwt.encode(claims, None, algorithm="none", headers={"kid": KID})


def _with_public_key_as_secret(claims: Claims) -> str:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return sign_with_secret(claims, public, KID)


def _with_jwk_as_secret(claims: Claims) -> str:
    return sign_with_secret(claims, json.dumps(SIGNER.jwk()).encode(), KID)


def _with_a_key_of_their_own(claims: Claims) -> str:
    other = rsa.generate_private_key(65537, 2048)
    return Signer(other, "RS256", KID).sign(claims)


def _with_a_key_in_the_header(claims: Claims) -> str:
    other = Signer(rsa.generate_private_key(65537, 2048), "RS256", KID)
    return other.sign(claims, jwk=other.jwk(), jku="http://127.0.0.1:1/jwks")


def _with_a_critical_header(claims: Claims) -> str:
    return SIGNER.sign(claims, crit=["must-be-understood"])


def _by_the_other_algorithm_of_its_key(claims: Claims) -> str:
    return Signer(RSA, "PS256", KID).sign(claims)


def _changed_afterwards(claims: Claims) -> str:
    head, _, signature = SIGNER.sign(claims).split(".")
    return f"{head}.{_b64(json.dumps(claims | {'sub': 'admin'}).encode())}.{signature}"


def _without_signature(claims: Claims) -> str:
    return SIGNER.sign(claims).rpartition(".")[0] + "."


def _not_a_token(_: Claims) -> str:
    return "a.b.c"


def _endless(claims: Claims) -> str:
    return SIGNER.sign(claims | {"padding": "x" * 40_000})


def _deep(_: Claims) -> str:
    return f"{_b64(b'[' * 20_000)}.x.y"


SIGNER = Signer(RSA, "RS256", "the-key")
KID = SIGNER.kid
FORGERIES: list[Callable[[Claims], str]] = [
    _unsigned,
    _with_public_key_as_secret,
    _with_jwk_as_secret,
    _with_a_key_of_their_own,
    _with_a_key_in_the_header,
    _with_a_critical_header,
    _by_the_other_algorithm_of_its_key,
    _changed_afterwards,
    _without_signature,
    _not_a_token,
    _endless,
    _deep,
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda made: made.__name__)
def test_a_forged_token_is_refused(
    forgery: Callable[[Claims], str], browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.signers = [SIGNER]
    tiny_provider.make_token = forgery

    assert browser.refused("tiny", tiny_provider, "bob") == "provider_refused"


def test_keys_are_fetched_again_for_a_new_one_but_not_for_every_invented_one(
    browser: Browser, tiny_provider: TinyProvider, clock: Any
) -> None:
    browser.sign_in("tiny", tiny_provider, "bob")
    tiny_provider.make_token = new_signer().sign
    for _ in range(3):
        assert browser.refused("tiny", tiny_provider, "bob") == "provider_refused"
    assert tiny_provider.asked.count("/jwks") == 1

    tiny_provider.signers = [new_signer()]
    tiny_provider.make_token = None
    clock.advance(seconds=31)

    assert browser.sign_in("tiny", tiny_provider, "bob").status_code == 201
    assert tiny_provider.asked.count("/jwks") == 2
    assert tiny_provider.asked.count("/.well-known/openid-configuration") == 1


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_keys_that_could_forge_are_not_used(
    browser: Browser, tiny_provider: TinyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Signer(rsa.generate_private_key(65537, 1024), "RS256", "small")  # noqa: S505  on purpose
    shared = {"kty": "oct", "k": _b64(b"s" * 32), "kid": "shared", "alg": "HS256"}
    encrypting = {**SIGNER.jwk(), "kid": "encrypting", "use": "enc"}
    listed = [small.jwk(), shared, encrypting, None, {"kty": "RSA"}, {"kty": ["RSA"]}]
    page = json.dumps({"keys": listed}).encode()
    monkeypatch.setitem(tiny_provider.raw, "/jwks", (200, {}, page))

    for make in (
        small.sign,
        lambda claims: sign_with_secret(claims, b"s" * 32, "shared"),
        Signer(RSA, "RS256", "encrypting").sign,
    ):
        tiny_provider.make_token = make
        assert browser.refused("tiny", tiny_provider, "bob") == "provider_refused"


def test_the_address_may_stand_in_userinfo_only(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.userinfo = {"sub": "bob", "email": "bob@example.org", "email_verified": True}

    assert browser.sign_in("tiny", tiny_provider, "bob", email=None).status_code == 201
    tiny_provider.userinfo["sub"] = "eve"
    assert browser.refused("tiny", tiny_provider, "bob", email=None) == "provider_refused"


def test_the_word_about_an_address_counts_for_that_address_only(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.userinfo = {"sub": "bob", "email": "ada@example.org"}

    error = browser.refused("tiny", tiny_provider, "bob", email=None, email_verified=True)

    assert error == "email_not_verified"


def test_the_secret_goes_into_the_form_where_the_provider_wants_it_there(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]

    assert browser.sign_in("tiny", tiny_provider, "bob").status_code == 201


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://user@evil.example/"},
        {"authorization_endpoint": 7},
    ],
)
def test_a_document_that_points_elsewhere_is_not_used(
    metadata: Claims, browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.metadata = metadata

    _unavailable(browser)


ANSWERS = {
    "too long": (200, {}, b"[" + b" " * 300_000 + b"]"),
    "no JSON": (200, {}, b"<html>"),
    "no object": (200, {}, b"[]"),
    "very deep": (200, {}, b"[" * 100_000),
    "error": (500, {}, b"{}"),
    "compressed": (200, {"content-encoding": "gzip"}, b"\x1f\x8b\x08"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_is_none_says_so(
    answer: tuple[int, dict[str, str], bytes], browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.raw["/.well-known/openid-configuration"] = answer

    _unavailable(browser)


def test_a_redirection_is_not_followed(browser: Browser, tiny_provider: TinyProvider) -> None:
    page = "/.well-known/openid-configuration"
    tiny_provider.raw["/moved"] = (200, {}, json.dumps(tiny_provider.document()).encode())
    tiny_provider.raw[page] = (302, {"location": "/moved"}, b"{}")

    _unavailable(browser)

    assert tiny_provider.asked == [page]


def test_a_provider_that_failed_is_not_asked_again_at_once(
    browser: Browser, tiny_provider: TinyProvider, clock: Any
) -> None:
    tiny_provider.raw["/.well-known/openid-configuration"] = (500, {}, b"")
    _unavailable(browser)
    _unavailable(browser)
    assert len(tiny_provider.asked) == 1

    tiny_provider.raw.clear()
    clock.advance(seconds=6)
    assert browser.sign_in("tiny", tiny_provider, "bob").status_code == 201


def test_an_old_document_does_while_there_is_no_new_one(
    browser: Browser, tiny_provider: TinyProvider, clock: Any
) -> None:
    browser.begin("tiny")
    tiny_provider.raw["/.well-known/openid-configuration"] = (500, {}, b"")
    clock.advance(hours=2)

    assert query_of(browser.begin("tiny"))["tenant"] == "7"


def test_a_provider_that_hangs_holds_few_threads(platform: Platform) -> None:
    documents = Documents(platform.providers.find("tiny").config.issuer, clock=platform.clock)
    with documents._lock, pytest.raises(Busy):
        documents.metadata()


def test_only_so_many_talk_to_providers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_WAIT_SECONDS", 0.01)
    taken = [fetching._TALKS.acquire() for _ in range(4)]
    try:
        with pytest.raises(Busy):
            fetching.fetch("http://127.0.0.1:1/")
    finally:
        for _ in taken:
            fetching._TALKS.release()


def test_nobody_there_is_said_kindly() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        fetching.fetch("http://127.0.0.1:1/")
    assert isinstance(caught.value, PlatformError)


def test_proxies_of_the_environment_are_not_used(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fetching._client.cache_clear()

    assert browser.begin("tiny")


def test_an_answer_names_its_provider_where_it_does_so_always(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.metadata["authorization_response_iss_parameter_supported"] = True

    def with_issuer(issuer: str) -> dict[str, str]:
        back = tiny_provider.consent(browser.begin("tiny"), "bob")
        return browser.come_back(back + issuer)

    assert with_issuer("") == {"error": "provider_refused"}
    assert with_issuer("&iss=https://evil.example") == {"error": "provider_refused"}
    assert set(with_issuer(f"&iss={tiny_provider.issuer}")) == {"code"}


def _unavailable(browser: Browser) -> None:
    answer = browser.get(
        "/api/v1/providers/tiny/authorize",
        params={"challenge": secrets.token_urlsafe(32), "redirect": "/"},
    )
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "provider_unavailable"
    assert answer.headers["retry-after"] == "5"


def _signed(signer: Signer, claims: Claims) -> str:
    signing = jwt.PyJWS()
    return signing.encode(
        json.dumps(claims).encode(),
        signer.private,
        algorithm=signer.algorithm,
        headers={"kid": signer.kid},
    )


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
