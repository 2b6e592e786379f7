"""Every operation of the OpenAPI document with every kind of credential in every form.

Who may succeeds. Everybody else is refused in the right way, and changes nothing.
"""

import re
from collections.abc import Callable, Iterator

import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from attacks.matrix import Trial, bad_forms, content, good_forms, secrets
from attacks.objects import OBJECTS
from attacks.people import People
from dormouse_control import app
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD
from fixtures.operations import Operation, Reply, documented, operations

OPERATIONS = documented()
RULED = [each for each in OPERATIONS if each.role is not None]
every = pytest.mark.parametrize("operation", RULED, ids=lambda found: found.id)


def _with(kind: str) -> pytest.MarkDecorator:
    """The operations on things of that kind."""
    wanted = [
        each
        for each in RULED
        if any(path in OBJECTS and OBJECTS[path].kind == kind for path in each.parameters)
    ]
    return pytest.mark.parametrize("operation", wanted, ids=lambda found: found.id)


@pytest.fixture(scope="module", autouse=True)
def _counted(everybody: People, say: Callable[[str], None]) -> Iterator[None]:
    yield
    say(f"matrix: {everybody.call.calls} calls of {len(OPERATIONS)} operations")


@pytest.fixture
def trial(operation: Operation, everybody: People) -> Trial:
    return Trial(operation, everybody)


@every
def test_t07_what_is_no_valid_credential_can_nothing(trial: Trial) -> None:
    """Also T11 and T21: what was taken back, and valid ones where none may stand."""
    values = trial.values(trial.cast.me)
    bad = trial.cast.bad | {"empty": "", "nothing": " "}
    wrong = {what: good_forms(each) | bad_forms(each) for what, each in bad.items()}
    wrong |= {"no credential": {"none": {}}}
    wrong |= {"session": bad_forms(trial.cast.me.access_token)}
    wrong |= {kind: bad_forms(key) for kind, (key, _) in trial.keys(trial.cast.me).items()}
    before = content(trial.people.platform)

    for what, forms in wrong.items():
        for form, sent in forms.items():
            reply = trial.send(values, **sent)
            assert reply.status == 401, f"{what}, {form}: {reply.status} {reply.text}"
            assert reply.code in ("invalid_api_key", "missing_credentials"), f"{what}, {form}"
    assert content(trial.people.platform) == before


@every
def test_t40_a_lower_role_or_a_key_that_may_not_changes_nothing(trial: Trial) -> None:
    """Also T20 and T41."""
    owner = trial.cast.me
    values = trial.values(owner)
    refused = {kind: found for kind, found in trial.keys(owner).items() if found[1]}
    if trial.operation.role is not Role.USER:
        lower = trial.cast.lower
        refused |= {
            f"{kind} of lower": (key, "forbidden") for kind, (key, _) in trial.keys(lower).items()
        }
        refused["lower"] = (lower.access_token, "forbidden")
    before = content(trial.people.platform)

    for what, (credential, code) in refused.items():
        for form, sent in good_forms(credential).items():
            reply = trial.send(values, **sent)
            assert (reply.status, reply.code) == (403, code), f"{what}, {form}: {reply.text}"
    assert content(trial.people.platform) == before


@every
def test_who_may_succeeds_whatever_the_form(trial: Trial) -> None:
    role = trial.operation.role or Role.USER
    for form in good_forms(""):
        owner = trial.people.new(role)
        credentials = {"session": owner.access_token}
        credentials |= {kind: key for kind, (key, no) in trial.keys(owner).items() if not no}
        for what, credential in credentials.items():
            if what != "session":  # the one before may have ended everything
                owner = trial.people.new(role)
                credential = trial.keys(owner)[what][0]
            reply = trial.send(trial.values(owner), owner=owner, **good_forms(credential)[form])
            assert trial.succeeds(reply), f"{what}, {form}: {reply.status} {reply.text}"


@every
def test_t22_no_answer_shows_what_is_stored_to_prove_something(trial: Trial) -> None:
    owner = trial.people.new(trial.operation.role or Role.USER)
    owner.made("POST", "/api/v1/me/second-factor", {"password": PASSWORD})
    kept = [owner.key, PASSWORD]
    reply = trial.send(trial.values(owner), owner=owner, **good_forms(owner.access_token)["Bearer"])
    stored = secrets(trial.people.platform)
    assert len(stored) > 10
    assert not [each for each in (*stored, *kept) if each in reply.text]


@_with("mine")
def test_t36_an_object_of_somebody_else_is_as_if_there_were_none(trial: Trial) -> None:
    values = trial.values(trial.cast.me)
    other = good_forms(trial.cast.other.access_token)["Bearer"]
    before = content(trial.people.platform)

    foreign = trial.send(values, **other)
    missing = trial.send({path: _made_up(value) for path, value in values.items()}, **other)

    assert (foreign.status, foreign.code) == (404, "not_found"), foreign.text
    assert _seen(foreign) == _seen(missing)
    assert content(trial.people.platform) == before


@_with("child")
def test_t37_a_child_of_another_parent_is_as_if_there_were_none(trial: Trial) -> None:
    me, paths = trial.cast.me, trial.operation.parameters
    first, second = trial.values(me), trial.values(me)
    sent = good_forms(me.access_token)["Bearer"]
    before = content(trial.people.platform)

    foreign = trial.send(first | {paths[-1]: second[paths[-1]]}, **sent)

    assert (foreign.status, foreign.code) == (404, "not_found"), foreign.text
    assert content(trial.people.platform) == before


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.role is None], ids=lambda found: found.id
)
def test_where_anybody_may_a_credential_makes_no_difference(trial: Trial) -> None:
    values = {path: trial.thing(path).make for path in trial.operation.parameters}
    path = trial.operation.filled(dict.fromkeys(values, "nobody"))
    body = {} if trial.operation.takes_body else None
    expected = trial.people.call(trial.operation.method, path, json=body)

    for what, credential in (trial.cast.bad | {"session": trial.cast.me.access_token}).items():
        reply = trial.people.call(trial.operation.method, path, bearer=credential, json=body)
        assert (reply.status, reply.code) == (expected.status, expected.code), what


def test_t40_every_route_is_in_the_document_or_known_not_to_be(platform: Platform) -> None:
    found = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in iter_route_contexts(app.public_app(platform).routes)
        for method in route.methods or ()
    }
    in_document = {(operation.method, operation.path) for operation in OPERATIONS}

    assert found - in_document == {
        ("GET", "/api/v1/openapi.json"),
        ("HEAD", "/api/v1/openapi.json"),
        ("GET", "/account/{name}"),
    }


def test_an_operation_without_a_rule_does_not_start(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter()

    @router.get("/api/v1/open")
    def open_to_all() -> None:
        return

    for more in (router, _nested(router)):
        with monkeypatch.context() as patched:
            patched.setattr("dormouse_control.catalog.api.router", more)
            with pytest.raises(TypeError, match=r"rule"):
                app.public_app(platform)


def test_an_operation_whose_rule_is_not_documented_is_no_part_of_a_matrix() -> None:
    with pytest.raises(ValueError, match="GET /x has no x-dormouse-rule"):
        operations({"paths": {"/x": {"get": {"operationId": "x"}}}})


def _nested(router: APIRouter) -> APIRouter:
    outer = APIRouter(prefix="/outer")
    outer.include_router(router)
    return outer


def _made_up(value: str) -> str:
    prefix, found, _ = value.partition("_")
    return f"{prefix}_{'0' * 26}" if found else "no-such"


def _seen(reply: Reply) -> tuple[object, ...]:
    headers = {name for name in reply.headers if name != "x-request-id"}
    return reply.status, reply.text, headers
