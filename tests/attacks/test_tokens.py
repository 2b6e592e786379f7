"""Access tokens that nobody should believe, given to control plane and gateway alike."""

import hashlib
import hmac
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dormouse import tokens
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.errors import NotAuthenticated, NotFound
from dormouse_control.identity.operations import authenticate
from dormouse_control.internal.operations import principal
from dormouse_control.internal.schemas import SessionQuestion
from dormouse_control.wiring import Platform
from fixtures.both_sides import BothSides
from fixtures.control_plane import Account, FakeClock
from fixtures.forgery import Forgery, Mutations, b64

HUGE = "1" + "0" * 400


@pytest.fixture
def forgery(platform: Platform, clock: FakeClock, sign_up: Callable[..., Account]) -> Forgery:
    clock.time = datetime.now(UTC)  # which is what the gateway's side goes by
    ada = sign_up()
    return Forgery.of(platform, ada)


@pytest.fixture
def refused(both_sides: BothSides) -> Callable[[str], None]:
    """Fails unless both sides refuse the token in the same words."""

    def check(token: str) -> None:
        ours, gates = both_sides(b"Bearer " + token.encode("utf-8", "surrogateescape"))
        assert (ours.status, gates.status) == (401, 401), token[:300]
        assert ours.code == gates.code

    return check


def hmac_with(key: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.digest(key, signed, hashlib.sha256)


def public_spellings(forgery: Forgery) -> dict[str, bytes]:
    public = forgery.key.private.public_key()
    info = PublicFormat.SubjectPublicKeyInfo
    return {
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        "pem": public.public_bytes(Encoding.PEM, info),
        "der": public.public_bytes(Encoding.DER, info),
        "openssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "jwk": json.dumps(tokens.public_jwk(forgery.key.kid, public)).encode(),
        "empty": b"",
    }


def test_the_forged_token_is_good_before_it_is_spoilt(
    both_sides: BothSides, forgery: Forgery
) -> None:
    for good in (forgery.token(), forgery.with_claims(nbf=forgery.claims["iat"])):
        ours, gates = both_sides(f"Bearer {good}")
        assert (ours.status, ours.user) == (200, forgery.claims["sub"])
        assert gates.known


def test_t01_no_algorithm_is_none(refused: Any, forgery: Forgery) -> None:
    for alg in ("none", "None", "nOnE", "NONE", "", None, ..., ["none"], 0):
        spoilt = forgery.with_header(alg=alg)
        refused(spoilt)
        head, body, _ = spoilt.split(".")
        for signature in ("", "AA"):
            refused(f"{head}.{body}.{signature}")
        refused(f"{head}.{body}")


def test_t02_our_public_key_is_no_shared_secret(refused: Any, forgery: Forgery) -> None:
    for spelling in public_spellings(forgery).values():
        for alg in ("HS256", "HS384", "HS512"):
            signer = hmac_with(spelling)
            refused(forgery.token(header=forgery.header | {"alg": alg}, signer=signer))
        refused(forgery.token(signer=signer))


UNKNOWN: list[dict[str, Any]] = [
    {"crit": ["exp"]},
    {"crit": ["x"], "x": 1},
    {"crit": []},
    {"crit": ["b64"], "b64": True},
    {"crit": None},
    {"crit": "exp"},
    {"x": 1},
    {"zip": "DEF"},
    {"cty": "JWT"},
]


def test_t03_a_header_that_we_do_not_know_is_not_passed_over(
    refused: Any, forgery: Forgery
) -> None:
    for extra in UNKNOWN:
        refused(forgery.with_header(**extra))


def test_t04_a_key_is_good_for_its_algorithm_only(refused: Any, forgery: Forgery) -> None:
    for alg in (
        "RS256",
        "PS512",
        "ES256",
        "ES256K",
        "Ed25519",
        "Ed448",
        "EDDSA",
        "eddsa",
        "EdDSA ",
    ):
        refused(forgery.with_header(alg=alg))


def test_t04_a_key_is_good_for_its_purpose_only(refused: Any, forgery: Forgery) -> None:
    header = forgery.header | {"kid": forgery.internal.kid}
    refused(forgery.token(header=header, signer=forgery.internal.private.sign))
    refused(forgery.token(signer=forgery.internal.private.sign))


class Spy:
    """Hears of every file, connection and process that Python opens while it listens."""

    WATCHED = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.listdir")

    def __init__(self) -> None:
        self.listening = False
        self.heard: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.listening and event in self.WATCHED:
            self.heard.append(f"{event} {arguments!r}")

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Fails if anything was opened."""
        self.heard.clear()
        self.listening = True
        try:
            yield
        finally:
            self.listening = False
        assert self.heard == []


@pytest.fixture(scope="session")
def spy() -> Spy:
    return Spy()  # a hook stays for the process's life


KIDS: list[Any] = [
    "../../dev/null",
    "/etc/passwd",
    "https://evil.example/key",
    "x' UNION SELECT 'AA' --",
    "access-\0",
    "access-\r\nx: y",
    "$(id)",
    "",
    None,
    1,
    [],
    {},
    "k" * 5000,
]


def _sides(platform: Platform) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether control plane and gateway believe a token, without HTTP around them."""
    reading = platform.database.reads()
    credentials = Credentials(platform.access_keys)

    def ours(token: str) -> bool:
        now = platform.clock()
        try:
            authenticate(reading, token, keys=platform.access_keys, address=None, now=now)
        except NotAuthenticated:
            return False
        return True

    def gates(token: str) -> bool:
        try:
            found = credentials.read(f"Bearer {token}").question
            question = SessionQuestion.model_validate(found)
            principal(reading, question, platform=platform, now=platform.clock())
        except (Refusal, NotFound):
            return False
        return True

    return ours, gates


def test_t05_a_key_id_is_a_name_and_nothing_else(
    refused: Any, forgery: Forgery, platform: Platform, spy: Spy
) -> None:
    for kid in KIDS:
        spoilt = forgery.with_header(kid=kid)
        refused(spoilt)
        _quietly(platform, spy, spoilt)


def test_t05_a_token_does_not_bring_its_own_key(
    refused: Any, forgery: Forgery, platform: Platform, spy: Spy
) -> None:
    stranger = Ed25519PrivateKey.generate()
    url = "http://127.0.0.1:9/jwks.json"
    brought: dict[str, Any] = dict.fromkeys(("jku", "x5u", "x5t", "x5t#S256"), url)
    brought |= {"x5c": [url], "jwk": tokens.public_jwk(forgery.key.kid, stranger.public_key())}
    for header, value in brought.items():
        for kid in (forgery.key.kid, "access-stranger", ...):
            names = {**forgery.header, header: value, "kid": kid}
            if kid is ...:
                del names["kid"]
            spoilt = forgery.token(header=names, signer=stranger.sign)
            refused(spoilt)
            _quietly(platform, spy, spoilt)


def _quietly(platform: Platform, spy: Spy, token: str) -> None:
    """Refused without opening anything, and fast."""
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        with spy.silence(), pytest.raises(tokens.TokenError):
            tokens.verify_session(token, keys=platform.access_keys, now=time.time())
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.005


def test_t05_the_spy_hears(platform: Platform, spy: Spy) -> None:
    with pytest.raises(AssertionError), spy.silence():
        (platform.settings.keys_folder / "jwks.json").read_bytes()


def test_t06_a_token_of_any_size_is_refused(
    refused: Any, forgery: Forgery, platform: Platform
) -> None:
    for size in (1, 2, 100, 8191, 8192, 8193, 65_536, 1_000_000, 10_000_000):
        _of_size(refused, forgery, platform, size)


def _of_size(refused: Any, forgery: Forgery, platform: Platform, size: int) -> None:
    for spoilt in ("A" * size, "." * size, (forgery.token() + "." + "A" * size)[:size]):
        if size != len(forgery.token()):
            refused(spoilt)
    inflated = forgery.with_header(kid="k" * size)
    refused(inflated)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for check in _sides(platform):
            assert not check(inflated)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The gateway's side takes the header apart once; nothing is decoded.
    assert peak - before < 2 * 8192 + 3 * len(inflated) + 300_000


def test_t06_what_is_longer_than_a_token_is_not_looked_at(forgery: Forgery) -> None:
    good = forgery.with_claims(x="x" * tokens.MAX_TOKEN_BYTES)
    keys = {forgery.key.kid: forgery.key.private.public_key()}
    with pytest.raises(tokens.TokenError, match="not a token"):
        tokens.decode(good, typ="at+jwt", audience="dormouse", keys=keys, now=forgery.claims["iat"])


def test_t06_detached_and_encrypted_tokens_are_none(refused: Any, forgery: Forgery) -> None:
    head, body, signature = forgery.token().split(".")
    detached = forgery.with_header(b64=False, crit=["b64"]).split(".")
    refused(".".join(detached))
    refused(f"{detached[0]}..{detached[2]}")
    refused(f"{head}..{signature}")
    jwe = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2s": b64(b"s"), "p2c": 2**31 - 1}
    for header in (jwe, {"alg": "dir", "enc": "A128GCM", "zip": "DEF"}, {"alg": "RSA-OAEP"}):
        refused(".".join([b64(json.dumps(header).encode()), "", "AA", body, "AA"]))
        refused(forgery.with_header(**header))
    refused(json.dumps({"payload": body, "protected": head, "signature": signature}))


def test_t07_another_type_is_no_access_token(refused: Any, forgery: Forgery) -> None:
    others = ["JWT", "at+JWT", "AT+JWT", "application/at+jwt", "dm-internal+jwt", "", None, ...]
    for typ in (*others, ["at+jwt"]):
        refused(forgery.with_header(typ=typ))


TIMES = [
    '"4102444800"',
    "null",
    "true",
    "[4102444800]",
    "{}",
    "4102444800.5",
    "4102444800.0",
    "4e9",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    HUGE,
    "9" * 5000,
    str(2**53),
    "-1",
    "04102444800",
    "0xF4865700",
]


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_t08_a_time_is_a_whole_number_of_seconds(refused: Any, forgery: Forgery, name: str) -> None:
    for value in TIMES:
        refused(forgery.written(name, value))


def test_t08_a_token_is_valid_for_its_time_only(
    refused: Any, forgery: Forgery, clock: FakeClock
) -> None:
    clock.time = datetime.now(UTC)  # as late as it is for the gateway's side
    now = int(clock.time.timestamp())
    refused(forgery.with_claims(exp=...))
    refused(forgery.with_claims(iat=...))
    refused(forgery.with_claims(exp=now))
    refused(forgery.with_claims(exp=now - 1))
    refused(forgery.with_claims(iat=now, exp=now + tokens.MAX_SECONDS + 1))
    refused(forgery.with_claims(nbf=now + 30))
    refused(forgery.with_claims(iat=now + 90))
    refused(forgery.with_claims(exp=0))


def test_t08_nothing_is_said_twice(refused: Any, forgery: Forgery) -> None:
    document = json.dumps(forgery.claims)
    for name in ("sub", "exp", "aud", "iss", "sid", "iat"):
        again = json.dumps({name: forgery.claims[name]})[1:-1]
        refused(forgery.token(claims=f"{{{again}, {document[1:]}"))
        refused(forgery.token(claims=f"{document[:-1]}, {again}}}"))
        escaped = again.replace(name, f"\\u{ord(name[0]):04x}{name[1:]}", 1)
        refused(forgery.token(claims=f"{document[:-1]}, {escaped}}}"))


def test_t08_claims_are_an_object(refused: Any, forgery: Forgery) -> None:
    for text in ("", "{", "[]", "null", "1", '"x"', "{}", "[" * 3000, "\ufeff{}"):
        refused(forgery.token(claims=text))
        refused(forgery.token(header=text))


def test_t09_the_audience_is_us_alone(refused: Any, forgery: Forgery) -> None:
    lists = [["dormouse"], ["dormouse", "other"], ["other", "dormouse"], [], {"dormouse": 1}]
    texts = ["dormouse-predictor", "Dormouse", "dormouse ", "dormous", "", None, ...]
    for aud in (*lists, *texts):
        refused(forgery.with_claims(aud=aud))


def test_t09_the_issuer_is_us_exactly(refused: Any, forgery: Forgery) -> None:
    near = ["dormouse.evil.example", "dormous", "Dormouse", "https://dormouse", "dormouse\0", ""]
    for iss in (*near, ["dormouse"], None, ...):
        refused(forgery.with_claims(iss=iss))


@pytest.mark.parametrize("name", ["sub", "sid"])
def test_t09_a_token_is_for_a_user_and_their_session(
    refused: Any, forgery: Forgery, name: str
) -> None:
    for value in (None, ..., 1, True, [], {}, "", "x", "\0", "\ud800", "\u0661", "x" * 65):
        refused(forgery.with_claims(**{name: value}))


def test_t09_a_session_is_its_owner_s_only(
    refused: Any, forgery: Forgery, sign_up: Callable[..., Account]
) -> None:
    bob = sign_up("bob@example.org")
    refused(forgery.with_claims(sub=bob.id))
    refused(forgery.with_claims(sid=bob.refresh_token.split(".")[0]))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(["iss", "aud", "sub", "sid", "iat", "exp"]), value=_JSON)
def test_t08_no_claim_takes_another_value(
    forgery: Forgery, platform: Platform, name: str, value: Any
) -> None:
    good = name in ("iat", "exp") and type(value) is int
    if good or value == forgery.claims[name]:
        return
    for believes in _sides(platform):
        assert not believes(forgery.with_claims(**{name: value}))


def _fuzz(platform: Platform, forgery: Forgery, count: int, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201  pytest shows it with a failure
    ours, gates = _sides(platform)
    mutations, choice = Mutations(forgery, seed), random.Random(seed)  # noqa: S311  not to be secret but to be repeated
    for _ in range(count):
        # Now and then a valid one, so that refusing everything is no agreement.
        good = choice.random() < 0.01
        token = forgery.token() if good else mutations.next()
        assert (ours(token), gates(token)) == (good, good), (seed, token)


def test_t08_of_many_mutations_none_is_believed(
    platform: Platform, forgery: Forgery, say: Callable[[str], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    _fuzz(platform, forgery, 20_000, seed)
    say(f"tokens: 20,000 mutations, none believed, both sides agree; seed {seed}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_t08_of_a_million_mutations_none_is_believed(
    platform: Platform, forgery: Forgery, clock: FakeClock, say: Callable[[str], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    for part in range(50):  # so that the valid ones among them have not expired meanwhile
        now = int(time.time())
        clock.advance(seconds=now - clock().timestamp())
        fresh = Forgery(
            forgery.key,
            forgery.internal,
            forgery.header,
            forgery.claims | {"iat": now, "exp": now + 600},
        )
        _fuzz(platform, fresh, 20_000, seed + part)
    say(f"tokens: 1,000,000 mutations, none believed, both sides agree; seed {seed}")
