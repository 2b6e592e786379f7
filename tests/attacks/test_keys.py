"""Attacks on API keys: guessed, injected, made too wide, changed by mass assignment, confused."""

import asyncio
import hashlib
import itertools
import random
import string
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import event, update
from starlette.testclient import TestClient

from dormouse import tokens
from dormouse_control.authorizer.credentials import Credential, Credentials
from dormouse_control.authorizer.principals import Principal, Principals
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.db import Base
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, User, UserStatus
from dormouse_control.naming import new_id
from dormouse_control.requests import intake_api
from dormouse_control.tiers.models import Tier
from dormouse_control.wire import Body
from dormouse_control.wiring import Platform

KEYS = "/api/v1/keys"
ALPHABET = string.ascii_letters + string.digits
ENDPOINTS = {"chat.completions": "/v1/chat/completions", "completions": "/v1/completions"}
MODELS = {"small": "chat", "large": "chat", "painter": "draw"}


@pytest.fixture(name="settings")
def _all_models(settings: Any) -> Any:
    return settings.model_copy(update={"profile": "standard"})


def me(client: TestClient, credential: str) -> int:
    headers = {b"authorization": b"Bearer " + credential.encode("utf-8", "surrogateescape")}
    return int(client.get("/api/v1/me", headers=headers).status_code)


# ---- T18 -----------------------------------------------------------------------------------------


def edits(key: str) -> list[str]:
    """Every proper prefix, and every place changed, doubled, dropped or in the other case."""
    found = [key[:length] for length in range(3, len(key))]
    rng = random.Random(18)  # noqa: S311  the same edits each time
    for at in range(len(key)):
        other = rng.choice([each for each in ALPHABET if each != key[at]])
        found += [
            key[:at] + other + key[at + 1 :],
            key[:at] + key[at] + key[at:],
            key[:at] + key[at + 1 :],
            key[:at] + key[at].swapcase() + key[at + 1 :],
        ]
    found += [key + each for each in ("x", "0", "\t", ".", "=", "%00", "\u00a0", ",", ";")]
    found += [" " + key, key.upper(), key.lower(), key[::-1], key + key, f'"{key}"', key[3:]]
    found += [key.replace("dm_", "dm\uff3f"), key.replace("dm_", "\uff44m_"), "\u0434" + key[1:]]
    return [each for each in found if each != key]


def test_t18_what_is_almost_a_key_is_none(client: TestClient, ada: Any, gate: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["key"]

    assert {each for each in edits(key) if me(client, each) != 401} == set()
    # Headers reach the authorizer as latin-1.
    sent = [each.encode().decode("latin-1") for each in edits(key)]
    assert {each for each in sent if gate.asks(f"Bearer {each}")[0] != 401} == set()
    assert me(client, key) == 200
    assert gate.lets(key)


# ---- T19 -----------------------------------------------------------------------------------------

HOSTILE = [
    "dm_' OR 1=1--",
    "dm_' UNION SELECT sha256 FROM api_key--",
    "dm_%",
    "dm_" + "_" * 43,
    "dm_*",
    "dm_\x00",
    "dm_" + "ü" * 43,
    "dm_" + "x" * (1024 * 1024),
    "' OR 1=1--",
    "\x00",
    "Robert'); DROP TABLE user;--",
    "\u202e\u0000",
    "a" * (1024 * 1024),
]


@contextmanager
def statements(platform: Platform) -> Any:
    """What is sent to the database meanwhile, texts only."""
    seen: list[str] = []

    def spy(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(platform.database.engine, "before_cursor_execute", spy)
    try:
        yield seen
    finally:
        event.remove(platform.database.engine, "before_cursor_execute", spy)


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_t19_a_hostile_credential_is_401_and_never_part_of_a_statement(
    client: TestClient, platform: Platform, ada: Any, gate: Any, hostile: str
) -> None:
    ada.key()
    with statements(platform) as usual:
        assert me(client, "dm_" + "x" * 43) == 401
    with statements(platform) as seen:
        assert me(client, hostile) == 401
    # Refused unread, or looked up like any other.
    assert len(seen) <= len(usual)
    assert set(seen) <= set(usual)
    assert gate.asks(f"Bearer {hostile.encode().decode('latin-1')}")[0] == 401


@pytest.mark.parametrize(
    "header",
    [
        "x-request-id",
        "x-envoy-external-address",
        "user-agent",
        "x-dormouse-model",
        "idempotency-key",
    ],
)
@pytest.mark.parametrize("hostile", [each for each in HOSTILE if len(each) < 100])
def test_t19_no_other_header_reaches_a_statement(
    client: TestClient, platform: Platform, ada: Any, header: str, hostile: str
) -> None:
    headers = {
        b"authorization": f"Bearer {ada.access_token}".encode(),
        header.encode(): hostile.encode(),
    }
    with statements(platform) as seen:
        answer = client.get("/api/v1/me", headers=headers)
    assert answer.status_code in (200, 400, 422)
    assert not [each for each in seen if "1=1" in each or "UNION" in each or "DROP" in each]


# ---- T20 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        {"services": ["draw"]},
        {"services": ["chat", "draw"]},
        {"models": ["painter"]},
        {"models": ["dall-e-3"]},
        {"requests_per_minute": 601},
        {"budget": {"amount": 11, "period": "month"}},
        {"budget": {"amount": 11, "period": "total"}},
    ],
)
def test_t20_no_key_is_made_or_changed_beyond_its_owner(
    platform: Platform, ada: Any, limits: Any
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    with platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(monthly_budget_nano=10 * 10**9))
    assert ada.post(KEYS, {"name": "wide", **limits}).status_code == 403
    key = ada.key()
    assert ada.patch(f"{KEYS}/{key['id']}", limits).status_code == 403
    headers = {"authorization": f"Bearer {key['key']}"}
    own = ada.client.patch(f"{KEYS}/{key['id']}", headers=headers, json={"name": "wider"})
    assert (own.status_code, own.json()["error"]["code"]) == (403, "session_required")


# Of rights, not of rates: more calls a minute than an example asks, and either side of the tier's.
PER_MINUTE = st.none() | st.integers(100_000, 200_000)


def subsets(values: Any) -> Any:
    return st.none() | st.lists(st.sampled_from(sorted(values)), min_size=1, unique=True)


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "services": subsets({"chat", "draw"}),
        "models": subsets(MODELS),
        "endpoints": subsets(ENDPOINTS),
        "ip_ranges": st.sampled_from([None, ["192.0.2.0/24"], ["198.51.100.0/24"]]),
        "requests_per_minute": PER_MINUTE,
    },
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.sampled_from(["chat", "draw"]), st.sampled_from([None, 2])),
        st.tuples(st.just("lose"), st.sampled_from(["chat", "draw"])),
        st.tuples(st.just("tier"), PER_MINUTE),
        st.tuples(st.just("status"), st.sampled_from([UserStatus.ACTIVE, UserStatus.DISABLED])),
        st.tuples(st.just("change"), LIMITS),
        st.tuples(st.just("wait"), st.just(1)),
    ),
    min_size=3,
    max_size=12,
)


NUMBERS = itertools.count(1)


class World:
    """One owner with one key; what each may, asked at the authorizer, and what was decided."""

    def __init__(self, platform: Platform, owner: Any, gate: Any, clock: Any) -> None:
        self.platform, self.owner, self.gate, self.clock = platform, owner, gate, clock
        self.key = owner.key()

    def _write(self, change: Callable[[Any], Any]) -> None:
        with self.platform.database.sessions.begin() as session:
            change(session)
            revocations.record(session, RevocationKind.USER, self.owner.id, now=self.clock())

    def grant(self, service: str, hours: int | None) -> None:
        end = None if hours is None else self.clock() + timedelta(hours=hours)
        row = Entitlement(
            id=new_id("ent"),
            user_id=self.owner.id,
            service=service,
            status=EntitlementStatus.ACTIVE,
            created_at=self.clock(),
            expires_at=end,
        )
        self.lose(service)
        self._write(lambda session: session.add(row))

    def lose(self, service: str) -> None:
        mine = (Entitlement.user_id == self.owner.id, Entitlement.service == service)
        self._write(lambda session: session.query(Entitlement).where(*mine).delete())

    def tier(self, per_minute: int | None) -> None:
        self._write(lambda session: session.execute(update(Tier).values(
            requests_per_minute=per_minute
        )))  # fmt: skip

    def status(self, status: UserStatus) -> None:
        mine = update(User).where(User.id == self.owner.id)
        self._write(lambda session: session.execute(mine.values(status=status)))

    def change(self, limits: Any) -> None:
        answer = self.owner.patch(f"{KEYS}/{self.key['id']}", limits)
        assert answer.status_code in (200, 401, 403, 422)
        if answer.status_code == 200:
            self.key |= answer.json()

    def wait(self, hours: int) -> None:
        self.clock.advance(hours=hours)

    def may(self, credential: str) -> set[tuple[str, str]]:
        """The calls that are let through."""
        return {
            (model, endpoint)
            for model in MODELS
            for endpoint, path in ENDPOINTS.items()
            if self._lets(credential, model=model, path=path)
        }

    def _lets(self, credential: str, **call: str) -> bool:
        return bool(self.gate.lets(credential, **call))

    def inside(self, model: str, endpoint: str) -> bool:
        """Whether the key's own limits, as they are shown, have room for a call."""
        named = ((MODELS[model], "services"), (model, "models"), (endpoint, "endpoints"))
        open_here = self.key["ip_ranges"] in (None, ["192.0.2.0/24"])
        return open_here and all(
            self.key[limit] is None or name in self.key[limit] for name, limit in named
        )


@settings(
    max_examples=20,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # an example is short as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(steps=[("grant", "chat", None), ("change", {"services": ["chat"]}), ("lose", "chat")])
@example(steps=[("grant", "draw", 1), ("change", {"models": ["painter"]}), ("wait", 1)])
@example(steps=[("grant", "chat", None), ("change", {"endpoints": ["completions"]})])
@given(steps=STEPS)
def test_t20_a_key_never_has_more_than_its_owner_whatever_happens(
    steps: Any, platform: Platform, sign_up: Any, gate: Any, clock: Any
) -> None:
    world = World(platform, sign_up(f"owner-{next(NUMBERS)}@example.org"), gate, clock)
    try:
        for name, *arguments in steps:
            getattr(world, name)(*arguments)
            session = fresh_session(world)
            of_owner, of_key = world.may(session), world.may(world.key["key"])
            assert of_key <= of_owner
            assert of_key == {call for call in of_owner if world.inside(*call)}
    finally:
        world.tier(None)


def fresh_session(world: World) -> str:
    """The owner's session, whatever time it is."""
    now = int(world.clock().timestamp())
    claims = {
        "iss": tokens.ISSUER,
        "aud": tokens.SESSION_AUDIENCE,
        "sub": world.owner.id,
        "sid": world.owner.refresh_token.split(".")[0],
        "iat": now,
        "exp": now + 60,
    }
    access = world.platform.signing.access
    key = access() if callable(access) else access
    world.owner.access_token = tokens.sign(claims, typ=tokens.SESSION_TYPE, key=key)
    return str(world.owner.access_token)


# ---- T23 -----------------------------------------------------------------------------------------


def columns() -> set[str]:
    return {
        column.name for mapper in Base.registry.mappers for column in mapper.local_table.columns
    } | {"role", "budget", "is_admin", "email_verified", "admin", "scopes", "__class__", "user"}


def bodies(document: Any) -> dict[str, list[tuple[str, str]]]:
    """Names of the schemas of bodies, and the operations that take each."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path, operations in document["paths"].items():
        if path in intake_api.PATHS:
            continue  # predictors check the bodies of calls to models
        for method, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = str(content["schema"].get("$ref", "")).rpartition("/")[2]
                found.setdefault(name, []).append((method.upper(), path))
    return found


def all_bodies(kind: type[Body] = Body) -> dict[str, type[Body]]:
    found = {kind.__name__: kind}
    for each in kind.__subclasses__():
        found |= all_bodies(each)
    return found


def test_t23_no_body_takes_a_column_that_it_does_not_name(client: TestClient) -> None:
    known, taken = all_bodies(), bodies(client.get("/api/v1/openapi.json").json())
    assert taken
    assert "KeyCreate" in taken
    for name in taken:
        kind = known[name]  # a body that is none of ours would be lax
        for column in columns() - set(kind.model_fields):
            with pytest.raises(ValidationError) as caught:
                kind.model_validate({column: 1})
            assert ("extra_forbidden", (column,)) in [
                (each["type"], each["loc"]) for each in caught.value.errors()
            ], (name, column)


def test_t23_every_write_refuses_columns_over_http(client: TestClient, administrator: Any) -> None:
    for name, operations in bodies(client.get("/api/v1/openapi.json").json()).items():
        extra = dict.fromkeys(columns() - set(all_bodies()[name].model_fields), 1)
        for method, path in operations:
            url = path.replace("{", "").replace("}", "")
            answer = administrator.call(method, url, json=extra)
            assert answer.status_code == 422, (method, path, answer.text)


@pytest.mark.parametrize(
    "column", ["id", "user_id", "sha256", "prefix", "revoked_at", "key", "role"]
)
def test_t23_a_key_takes_nothing_but_its_limits(ada: Any, column: str) -> None:
    key = ada.key()
    for answer in (
        ada.post(KEYS, {"name": "mine", column: "x"}),
        ada.patch(f"{KEYS}/{key['id']}", {"name": "mine", column: "x"}),
        ada.post(KEYS, {"name": "m", "budget": {"amount": 1, "period": "day", column: "x"}}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_parameter")
    assert [item["name"] for item in ada.get(KEYS).json()["items"]] == [key["name"]]


# ---- T24 -----------------------------------------------------------------------------------------


def cache_key(credentials: Credentials, secret: str) -> str:
    return credentials.read(f"Bearer {secret}").cache_key


def similar(rng: random.Random, key: str) -> str:
    """Another key: a stranger, or one that differs as little as keys can."""
    if rng.random() < 0.3:
        return "dm_" + "".join(rng.choices(ALPHABET, k=43))
    at = rng.randrange(3, len(key))
    return key[:at] + rng.choice(ALPHABET) + key[at + 1 :]


@pytest.mark.parametrize("pairs", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_t24_two_credentials_never_share_an_entry(pairs: int) -> None:
    rng, credentials = random.Random(24), Credentials({})  # noqa: S311  repeatable
    for _ in range(pairs):
        one = "dm_" + "".join(rng.choices(ALPHABET, k=43))
        other = similar(rng, one)
        same = cache_key(credentials, one) == cache_key(credentials, other)
        assert same == (one == other)


def test_t24_an_entry_belongs_to_one_token_of_one_user(
    ada: Any, sign_up: Any, platform: Platform, gate: Any
) -> None:
    credentials = Credentials(platform.access_keys)
    bob = sign_up("bob@example.org")
    found = [credentials.read(f"Bearer {each.access_token}") for each in (ada, bob)]
    found.append(credentials.read(f"Bearer {ada.key()['key']}"))
    assert len({each.cache_key for each in found}) == 3
    digest = hashlib.sha256(ada.access_token.encode()).hexdigest()
    assert digest in found[0].cache_key
    assert gate.asks(f"Bearer {ada.access_token}")[1] == "not_entitled"


def test_t24_a_wrong_key_shadows_no_right_one(ada: Any, gate: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["key"]
    for wrong in edits(key)[:60]:
        assert gate.asks(f"Bearer {wrong.encode().decode('latin-1')}")[0] == 401
    assert gate.lets(key)


def test_t24_what_was_allowed_is_refused_once_it_is_taken_back(ada: Any, gate: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    keys = [ada.key() for _ in range(3)]
    for key in keys:
        assert gate.lets(key["key"])
    ada.delete(f"{KEYS}/{keys[0]['id']}")
    assert [gate.lets(key["key"]) for key in keys] == [False, True, True]
    ada.patch(f"{KEYS}/{keys[1]['id']}", {"models": ["large"]})
    assert [gate.lets(key["key"]) for key in keys] == [False, False, True]
    ada.delete("/api/v1/entitlements/chat")
    assert [gate.lets(key["key"]) for key in keys] == [False, False, False]


class Slow:
    """A control plane whose answer is overtaken by news."""

    def __init__(self, answer: Principal) -> None:
        self.answer: Principal | None = answer
        self.meanwhile: Callable[[], None] = lambda: None

    async def principal(self, _question: dict[str, str]) -> Principal | None:
        found = self.answer
        self.meanwhile()
        return found


def test_t24_an_answer_older_than_a_revocation_is_not_remembered() -> None:
    old = Principal("usr_1", "key_1", 0, {"chat": None}, None)
    source = Slow(old)
    principals = Principals(source)

    def revoked() -> None:
        source.answer = None
        principals.revoke([{"id": "key_1"}])

    source.meanwhile = revoked
    credential = Credential("key:1", {"kind": "key", "sha256": "1"})

    async def ask() -> Principal | None:
        return await principals.find(credential.cache_key, credential.question, now=0)

    assert asyncio.run(ask()) == old
    source.meanwhile = lambda: None
    assert asyncio.run(ask()) is None


def test_t24_every_form_of_header_is_refused_the_same_way() -> None:
    credentials = Credentials({})
    for header in ("Bearer dm_short", "Bearer " + "x" * 10_000, "Bearer a.b.c"):
        with pytest.raises(Refusal) as caught:
            credentials.read(header)
        assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


# ---- T105, for keys ------------------------------------------------------------------------------


def test_t105_a_race_for_the_last_keys_never_gives_more_than_the_tier(
    installation: Any, at_once: Any
) -> None:
    ada = installation.sign_up()
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(most_keys=5))
    statuses = at_once(32, lambda: ada.post(KEYS, {"name": "race"}).status_code)
    assert sorted(statuses) == [201] * 5 + [409] * 27
    assert len(ada.get(KEYS).json()["items"]) == 5
