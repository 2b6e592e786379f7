"""Who may call what, and what the predictor is told."""

import asyncio
import hashlib
import json
import time

import pytest

from dormouse.tokens import SigningKey, verify_internal
from dormouse_control.authorizer.check import Question
from dormouse_control.authorizer.principals import Limit
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.identity.reach import reach

KEY = "dm_" + "k" * 43
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def question(path="/v1/chat/completions", method="POST", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Question(
        method,
        path,
        {"authorization": f"Bearer {KEY}", "x-dormouse-model": "dormouse-chat", **named},
    )


def check(world, asked=None):
    return asyncio.run(world.checker.check(asked or question()))


def refusal(world, asked=None):
    with pytest.raises(Refusal) as caught:
        check(world, asked)
    return caught.value.status, caught.value.code


def claims(world, admitted, service="chat"):
    keys = {world.internal.kid: world.internal.private.public_key()}
    return verify_internal(admitted.token, service=service, keys=keys, now=time.time())


def test_an_entitled_caller_gets_an_address_and_a_token_that_says_who_calls(world):
    admitted = check(world)
    assert admitted.address == "127.0.0.1:9"
    told = claims(world, admitted)
    assert (told.user, told.credential, told.service) == ("usr_1", "key_1", "chat")
    assert (told.model, told.alias, told.priority) == ("dormouse-chat", None, 1)
    assert told.cold_start_ms is None


def test_only_the_hash_of_a_key_leaves_the_authorizer(world):
    check(world)
    assert world.control_plane.asked == [{"kind": "key", "sha256": DIGEST}]


def test_a_session_token_works_like_a_key(world):
    admitted = check(world, question(authorization=f"bearer {world.session_token()}"))
    assert claims(world, admitted).credential == "ses_1"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY])
def test_no_credentials_is_401(world, header):
    assert refusal(world, question(authorization=header)) == (401, "missing_credentials")


@pytest.mark.parametrize(
    "secret",
    [
        "dm_" + "x" * 43,
        KEY[:-1],
        KEY + "k",
        KEY.upper(),
        " " + KEY,
        KEY + "\x00",
        "dm_' OR 1=1--",
        "x.y.z",
        "\xff\xfe",
    ],
)
def test_wrong_credentials_are_401(world, secret):
    assert refusal(world, question(authorization=f"Bearer {secret}")) == (401, "invalid_api_key")


def test_session_tokens_of_others_or_of_the_past_are_401(world):
    forged = SigningKey("access-1", world.internal.private)
    for token in (
        world.session_token(exp=int(time.time()) - 1),
        world.session_token(aud="dormouse-predictor"),
        world.session_token(sid=5),
        type(world)(**{**vars(world), "access": forged}).session_token(),
    ):
        asked = question(authorization=f"Bearer {token}")
        assert refusal(world, asked) == (401, "invalid_api_key")


def test_a_verified_session_token_still_ends_in_time(world, monkeypatch):
    asked = question(authorization=f"Bearer {world.session_token()}")
    check(world, asked)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert refusal(world, asked) == (401, "invalid_api_key")


def test_without_entitlement_it_is_403(world):
    asked = question("/v1/embeddings", x_dormouse_model="minilm")
    assert refusal(world, asked) == (403, "not_entitled")
    assert world.nest.asked == []  # nothing wakes for somebody who may not call


def test_who_was_entitled_a_moment_ago_may_call_at_once(world, make_principal):
    asked = question("/v1/embeddings", x_dormouse_model="minilm")
    refusal(world, asked)
    both = {"chat": None, "embeddings": None}
    world.control_plane.principals[DIGEST] = make_principal(entitlements=both)
    assert check(world, asked).address == "127.0.0.1:9"  # before any revocation arrived


def test_an_unknown_model_is_404_and_the_wrong_endpoint_400(world):
    assert refusal(world, question(x_dormouse_model="nope")) == (404, "model_not_found")
    assert refusal(world, question("/v1/embeddings")) == (400, "invalid_value")
    assert refusal(world, question(method="GET")) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("missing", "missing_required_parameter"),
        ("invalid_json", "invalid_json"),
        ("duplicate", "invalid_value"),
        ("what is this", "missing_required_parameter"),
    ],
)
def test_a_body_without_a_model_is_400_but_only_for_who_may_know(world, reason, code):
    headers = {"authorization": f"Bearer {KEY}", "x-dormouse-model-error": reason}
    assert refusal(world, Question("POST", "/v1/completions", headers)) == (400, code)
    headers["authorization"] = "Bearer dm_wrong"
    assert refusal(world, Question("POST", "/v1/completions", headers))[0] == 401


def test_a_name_that_no_model_can_have_is_no_model(world):
    headers = {"authorization": f"Bearer {KEY}", "x-dormouse-model-error": "bad_name"}
    assert refusal(world, Question("POST", "/v1/completions", headers)) == (404, "model_not_found")


def test_an_alias_leads_to_the_model_it_means(world):
    told = claims(world, check(world, question(x_dormouse_model="gpt-3.5")))
    assert (told.model, told.alias) == ("dormouse-chat", "gpt-3.5")


@pytest.mark.parametrize(("asked", "given"), [("0", 1), ("1", 1), ("2", 2)])
def test_priority_is_clamped_by_what_the_caller_may(world, asked, given):
    admitted = check(world, question(x_dormouse_priority=asked))
    assert claims(world, admitted).priority == given
    assert world.nest.asked[0]["priority"] == given


def test_a_priority_that_is_none_is_400(world):
    assert refusal(world, question(x_dormouse_priority="3")) == (400, "invalid_value")


@pytest.mark.parametrize(("code", "status"), [("queue_full", 429), ("waking_failed", 503)])
def test_what_the_nest_refuses_reaches_the_caller_with_a_time_to_come_back(world, code, status):
    world.nest.answer = {"ok": False, "code": code, "message": "m", "retry_after": 4}
    with pytest.raises(Refusal) as caught:
        check(world)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.retry_after == 4


def test_what_will_never_fit_has_no_time_to_come_back(world):
    refused = {"ok": False, "code": "insufficient_memory", "message": "m", "retry_after": None}
    world.nest.answer = refused
    with pytest.raises(Refusal) as caught:
        check(world)
    assert (caught.value.status, caught.value.retry_after) == (503, None)


def test_the_call_that_woke_the_service_says_so_and_no_later_one(world):
    world.nest.answer["cold_start_ms"] = 321
    assert claims(world, check(world)).cold_start_ms == 321
    world.nest.answer["cold_start_ms"] = None
    assert claims(world, check(world)).cold_start_ms is None


def test_a_warm_call_signs_nothing(world):
    assert check(world).token == check(world).token


def test_too_many_requests_are_429_with_retry_after(world, make_principal):
    world.control_plane.principals[DIGEST] = make_principal(
        limits=(Limit("usr_1", requests_per_minute=2),)
    )
    check(world)
    check(world)
    with pytest.raises(Refusal) as caught:
        check(world)
    assert (caught.value.status, caught.value.code) == (429, "rate_limited")
    assert 1 <= caught.value.retry_after <= 31


def test_known_callers_go_on_while_the_control_plane_is_away_and_unknown_ones_wait(world):
    check(world)
    world.control_plane.down = True
    check(world)
    other = question(authorization="Bearer dm_" + "u" * 43)
    assert refusal(world, other) == (503, "control_plane_unavailable")


def test_asking_for_what_one_may_not_locks_nobody_out_while_the_control_plane_is_away(world):
    check(world)
    world.control_plane.down = True
    other = question("/v1/embeddings", x_dormouse_model="minilm")
    assert refusal(world, other) == (403, "not_entitled")
    assert refusal(world, question(x_dormouse_model="nope")) == (404, "model_not_found")
    check(world)


def test_a_revoked_key_is_refused_at_once(world):
    check(world)
    world.control_plane.principals.clear()
    check(world)
    world.principals.revoke([{"seq": 1, "kind": "key", "id": "key_1"}])
    assert refusal(world) == (401, "invalid_api_key")


def test_a_changed_user_is_looked_up_again(world, make_principal):
    check(world)
    world.control_plane.principals[DIGEST] = make_principal(entitlements={})
    world.principals.revoke([{"seq": 1, "kind": "user", "id": "usr_1"}])
    assert refusal(world) == (403, "not_entitled")


def test_an_answer_that_a_revocation_overtook_is_not_kept(world):
    def overtaken():
        world.control_plane.principals.clear()
        world.principals.revoke([{"seq": 1, "kind": "key", "id": "key_1"}])

    world.control_plane.while_asked = overtaken
    assert refusal(world) == (401, "invalid_api_key")
    assert len(world.control_plane.asked) == 2  # before the wake, and because it was not kept


def test_an_expired_key_is_refused_from_the_cache_too(world, make_principal, monkeypatch):
    world.control_plane.principals[DIGEST] = make_principal(expires_at=time.time() + 10)
    check(world)
    later = time.time() + 11
    monkeypatch.setattr(time, "time", lambda: later)
    assert refusal(world) == (401, "invalid_api_key")


def test_a_wrong_key_is_asked_about_once_a_second(world):
    other = question(authorization="Bearer dm_" + "u" * 43)
    for _ in range(5):
        refusal(world, other)
    assert len(world.control_plane.asked) == 1


def test_calls_that_come_together_ask_once(world):
    async def together():
        await asyncio.gather(*(world.checker.check(question()) for _ in range(50)))

    asyncio.run(together())
    assert len(world.control_plane.asked) == 1


def told(world, make_principal, **changed):
    world.control_plane.principals[DIGEST] = make_principal(**changed)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("2001:db8::1", 200),
        ("192.0.3.7", 401),
        ("", 401),
        ("192.0.2.7, 192.0.2.8", 401),
        (None, 401),
    ],
)
def test_a_key_for_some_addresses_is_good_from_there_only(world, make_principal, address, status):
    told(world, make_principal, ip_ranges=("192.0.2.0/24", "2001:db8::/32"))
    headers = {} if address is None else {"x_envoy_external_address": address}
    if status == 200:
        check(world, question(**headers))
    else:
        assert refusal(world, question(**headers)) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "limits",
    [
        ({"embeddings"}, None, None),
        (None, {"minilm"}, None),
        (None, None, {"completions"}),
        ({"chat"}, {"dormouse-chat"}, {"embeddings"}),
    ],
)
def test_a_narrowed_key_is_refused_what_lies_outside_and_told_what(world, make_principal, limits):
    told(world, make_principal, reach=reach(*limits))
    with pytest.raises(Refusal) as caught:
        check(world)
    assert (caught.value.status, caught.value.code) == (403, "key_restricted")
    assert any(word in caught.value.message for word in ("chat", "completions"))
    assert world.nest.asked == []


def test_a_narrowed_key_may_what_lies_inside_also_by_another_name(world, make_principal):
    told(world, make_principal, reach=reach(["chat"], ["dormouse-chat"], ["chat.completions"]))
    assert check(world, question(x_dormouse_model="gpt-3.5")).address == "127.0.0.1:9"


def test_an_entitlement_ends_by_itself(world, make_principal, monkeypatch):
    told(world, make_principal, entitlements={"chat": int(time.time()) + 10})
    check(world)
    later = time.time() + 11
    monkeypatch.setattr(time, "time", lambda: later)
    assert refusal(world) == (403, "not_entitled")


def test_a_keys_own_limit_leaves_the_users_other_calls_alone(world, make_principal):
    told(world, make_principal, limits=(Limit("key_1", requests_per_minute=1),))
    check(world)
    with pytest.raises(Refusal) as caught:
        check(world)
    assert (caught.value.code, caught.value.message) == (
        "rate_limited",
        "More than 1 requests a minute.",
    )
    check(world, question(authorization=f"Bearer {world.session_token()}"))


def test_the_users_limit_holds_over_all_credentials(world, make_principal):
    users = Limit("usr_1", requests_per_minute=2)
    told(world, make_principal, limits=(Limit("key_1", requests_per_minute=100), users))
    world.control_plane.principals["ses_1"] = make_principal(credential="ses_1", limits=(users,))
    check(world)
    check(world, question(authorization=f"Bearer {world.session_token()}"))
    assert refusal(world) == (429, "rate_limited")


def test_a_spent_budget_is_402_in_openais_shape(world, make_principal):
    told(world, make_principal, over_budget=True)
    with pytest.raises(Refusal) as caught:
        check(world)
    error = json.loads(caught.value.body())["error"]
    assert (caught.value.status, error["type"], error["code"]) == (
        402,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert world.nest.asked == []


def test_a_spent_budget_is_asked_about_again_when_it_begins_anew(
    world, make_principal, monkeypatch
):
    told(world, make_principal, over_budget=True, asked_again_at=int(time.time()) + 10)
    refusal(world)
    told(world, make_principal)
    assert refusal(world) == (402, "insufficient_quota")  # from memory
    later = time.time() + 10
    monkeypatch.setattr(time, "time", lambda: later)
    assert check(world).address == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (None, "invalid_api_key"),
        ({"entitlements": {}}, "not_entitled"),
        ({"over_budget": True}, "insufficient_quota"),
        ({"reach": reach(["embeddings"], None, None)}, "key_restricted"),
        ({"ip_ranges": ("192.0.2.0/24",)}, "invalid_api_key"),
    ],
)
def test_r41_what_was_taken_away_while_a_call_waited_is_gone(world, make_principal, changed, code):
    class Waking(type(world.nest)):
        async def acquire(self, **asked):
            if changed is None:
                world.control_plane.principals.clear()
            else:
                told(world, make_principal, **changed)
            world.principals.revoke([{"seq": 1, "kind": "user", "id": "usr_1"}])
            return await super().acquire(**asked)

    world.checker._nest = Waking()
    assert refusal(world)[1] == code


def on_worker(number="1", **headers):
    return question(x_dormouse_worker=number, **headers)


def test_the_next_such_calls_may_be_let_through_by_the_gateway(world):
    admitted = check(world, on_worker(x_dormouse_priority="2"))
    [(call, worker, grant, account, max_bytes)] = world.permits.given
    assert (call.credential, call.path) == (f"Bearer {KEY}", "/v1/chat/completions")
    assert (call.model, call.priority, worker) == ("dormouse-chat", "2", 1)
    assert (grant.user, grant.credential, grant.address) == ("usr_1", "key_1", "127.0.0.1:9")
    assert grant.token == f"Bearer {admitted.token}"
    assert [(rate.subject, rate.capacity) for rate in account.requests] == [("usr_1", 600)]
    assert max_bytes is None


def test_a_decision_ends_with_the_first_thing_that_ends(world, make_principal):
    now = time.time()
    ends = {"expires_at": now + 40, "entitlements": {"chat": now + 30}, "asked_again_at": now + 50}
    world.control_plane.principals[DIGEST] = make_principal(**ends)
    check(world, on_worker())
    assert world.permits.given[-1][2].until == now + 30
    token = world.session_token(exp=int(now) + 9)
    check(world, on_worker(authorization=f"Bearer {token}"))
    assert world.permits.given[-1][2].until == int(now) + 9


@pytest.mark.parametrize(
    ("changed", "headers"),
    [
        ({"ip_ranges": ("203.0.113.0/24",)}, {"x_dormouse_worker": "1"}),
        ({}, {}),
    ],
    ids=["good from some addresses only", "nobody says which worker asks"],
)
def test_some_calls_are_asked_for_each_time(world, make_principal, changed, headers):
    world.control_plane.principals[DIGEST] = make_principal(**changed)
    check(world, question(x_envoy_external_address="203.0.113.9", **headers))
    assert world.permits.given == []


def test_the_call_that_woke_a_service_decides_nothing(world):
    world.nest.answer = {"ok": True, "address": "127.0.0.1:9", "cold_start_ms": 7}
    check(world, on_worker())
    assert world.permits.given == []


def test_of_several_predictors_one_is_chosen_for_each_call(world):
    world.nest.answer |= {"lasting": False}
    check(world, on_worker())
    assert world.permits.given == []
    world.nest.answer |= {"lasting": True}
    check(world, on_worker())
    assert len(world.permits.given) == 1


def test_the_nest_is_told_whose_call_it_is(world):
    check(world)
    assert world.nest.asked[0]["user"] == "usr_1"


def test_a_refused_call_decides_nothing(world, make_principal):
    world.control_plane.principals[DIGEST] = make_principal(entitlements={})
    assert refusal(world, on_worker()) == (403, "not_entitled")
    assert world.permits.given == []


def test_what_a_revocation_overtakes_decides_nothing(world):
    def overtaken():
        world.principals.revoke([{"seq": 1, "kind": "key", "id": "key_2"}])
        world.tokens.position += 1

    world.control_plane.while_asked = overtaken
    check(world, on_worker())
    assert world.permits.given == []
    world.control_plane.while_asked = None
    check(world, on_worker())
    check(world, on_worker())
    assert len(world.permits.given) >= 1


def test_a_limit_is_met_only_when_nothing_is_set_aside(world, make_principal):
    told(world, make_principal, limits=(Limit("usr_1", requests_per_minute=1),))
    recalled = []
    world.accounts.recall = lambda piece: recalled.append(piece.subject) or False
    check(world)
    recalled.clear()
    assert refusal(world) == (429, "rate_limited")
    assert recalled == ["usr_1"]


def test_what_comes_back_from_the_gateway_lets_a_call_through(world, make_principal):
    told(world, make_principal, limits=(Limit("usr_1", requests_per_minute=1),))
    check(world)

    def give_back():
        [rate] = world.accounts._rates.values()
        rate.balance += 1

    world.accounts.recall = lambda _: True
    world.accounts.settle = give_back
    check(world)


def test_the_answer_says_what_is_left(world, make_principal):
    told(world, make_principal, limits=(Limit("usr_1", requests_per_minute=100),))
    assert check(world).limits == "100,99,600ms,,,"


def test_the_predictor_is_told_who_pays_and_where_to_report(world, make_principal):
    told(world, make_principal, budgeted=True, max_queued=3, expires_at=int(time.time()) + 30)
    asked = question("/v1/completions")
    found = claims(world, check(world, asked))
    assert found.lease == next(iter(world.lender.leased["usr_1"]))
    assert found.authorizer == "unix:meters.sock"
    assert found.account in world.accounts._by_number
    assert (found.max_queued, found.max_body) == (3, 1_000_000)
    assert found.until == int(world.control_plane.principals[DIGEST].expires_at)


def test_calls_that_cost_nothing_are_paid_by_nobody(world, make_principal):
    told(world, make_principal, budgeted=True)
    assert claims(world, check(world)).lease is None


@pytest.mark.parametrize(("sent", "most"), [("1000001", None), ("501", 500)])
def test_a_body_longer_than_the_caller_may_send_is_413(world, make_principal, sent, most):
    told(world, make_principal, max_body=most)
    assert refusal(world, question(x_dormouse_bytes=sent)) == (413, "body_too_large")


def test_of_who_has_spent_so_much_no_service_on_a_gpu_is_paid(world, make_principal):
    told(world, make_principal, refuse_gpu=True, entitlements={"chat": None, "embeddings": None})
    assert refusal(world) == (402, "insufficient_quota")
    check(world, question("/v1/embeddings", x_dormouse_model="minilm"))


def test_a_refused_call_gives_back_all_but_its_request(world, make_principal):
    one = (Limit("usr_1", requests_per_minute=100, concurrent=1),)
    told(world, make_principal, limits=one, budgeted=True)
    world.nest.answer = {"ok": False, "code": "waking_failed", "message": "m", "retry_after": 4}
    for _ in range(3):
        assert refusal(world, question("/v1/completions")) == (503, "waking_failed")
    [money] = world.accounts._money.values()
    assert (money.reserved, world.accounts._slots["usr_1"].used) == (0, 0)
    assert 96 <= world.accounts._rates["usr_1", "requests"].remaining(alone=True, now=0) < 98


def test_longer_bodies_are_taken_for_dearer_calls(world, make_principal):
    told(world, make_principal, budgeted=True, entitlements={"embeddings": None})
    reserved = []
    for size in ("100", "5000", None):
        sent = {} if size is None else {"x_dormouse_bytes": size}
        check(world, question("/v1/embeddings", x_dormouse_model="minilm", **sent))
        [money] = world.accounts._money.values()
        reserved.append(money.reserved)
    assert reserved[0] == 4096
    assert reserved[1] == 4096 + 16384
    assert reserved[2] >= 32 * 1024 * 1024


def test_no_more_calls_of_a_user_wait_than_may(world, make_principal):
    told(world, make_principal, max_queued=2)

    class Asleep(type(world.nest)):
        async def acquire(self, **asked):
            await asyncio.sleep(0.05)
            return await super().acquire(**asked)

    world.checker._nest = Asleep()

    async def three():
        calls = [world.checker.check(question()) for _ in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    *_, last = asyncio.run(three())
    assert (last.status, last.code) == (429, "queue_full")


def test_a_service_may_wake_while_limits_are_asked_for(world):
    check(world)
    assert world.nest.expected == [{"service": "chat", "model": "dormouse-chat"}]
    check(world)  # what was lent is enough for this one: there is nothing to wait for
    assert len(world.nest.expected) == 1


def test_nothing_wakes_for_who_may_not_call(world, make_principal):
    told(world, make_principal, entitlements={"embeddings": None})
    assert refusal(world) == (403, "not_entitled")
    assert world.nest.expected == []
