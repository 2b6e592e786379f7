"""The Lua script inside a real Envoy: which model does it find, and what does it strip?"""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"


def ask(gateway, body, path=CHAT, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"authorization": "Bearer somebody", **headers}
    answer = httpx.post(gateway.url + path, content=content, headers=headers)
    checks = gateway.authorizer.seen
    return answer, (checks[-1].headers if checks else {})


def test_the_model_is_taken_from_the_body(gateway):
    _, check = ask(gateway, {"messages": [], "model": "dormouse-chat"})
    assert check["x-dormouse-model"] == "dormouse-chat"
    assert "x-dormouse-model-error" not in check


@pytest.mark.parametrize(
    "path", ["/m/other-model/v1/chat/completions", "/m/other-model/completions"]
)
def test_the_path_wins_over_the_body(gateway, path):
    _, check = ask(gateway, {"model": "dormouse-chat"}, path=path)
    assert check["x-dormouse-model"] == "other-model"


def test_the_header_of_our_own_clients_spares_the_look_into_the_body(gateway):
    _, check = ask(gateway, b"\x00 no JSON at all", **{"x-dormouse-model": "by-header"})
    assert check["x-dormouse-model"] == "by-header"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', "a"),
        (b'{ "model" \n:\t "a" }', "a"),
        (b'{"x":{"model":"deep"},"model":"a","y":[{"model":"deeper"}]}', "a"),
        (b'{"model":"a","messages":[{"role":"user","content":"say \\"model\\": \\"b\\""}]}', "a"),
        (b'{"note":"model","model":"a","tail":"\\\\"}', "a"),
        (b'{"a":"}","b":"{[","model":"a","c":{"d":{"e":{"model":"z"}}}}', "a"),
        (b'{"model":"a/b:c_d.e-1"}', "a/b:c_d.e-1"),
        (b'{"model":"a\\/b\\u002dc"}', "a/b-c"),
    ],
)
def test_only_the_model_at_the_top_counts(gateway, body, expected):
    _, check = ask(gateway, body)
    assert check.get("x-dormouse-model") == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "missing"),
        (b"{}", "missing"),
        (b'{"model":5}', "missing"),
        (b'{"model":null,"x":{"model":1}}', "missing"),
        (b'{"x":[{"model":"a"},{"model":"b"}]}', "missing"),
        (b'["model"]', "invalid_json"),
        (b"[" * 200_000, "invalid_json"),
        (b'{"x":' * 100_000, "invalid_json"),
        (b'{"model":"never ends', "invalid_json"),
        (b"not json", "invalid_json"),
        (b'{"model":"a","model":"b"}', "duplicate"),
        (b'{"model":"a\\nb"}', "bad_name"),
        (b'{"model":"a b"}', "bad_name"),
        (b'{"model":"' + b"a" * 129 + b'"}', "bad_name"),
        (b'{"model":""}', "bad_name"),
    ],
)
def test_a_body_without_one_plain_model_is_named_for_what_it_is(gateway, body, reason):
    answer, check = ask(gateway, body)
    assert answer.status_code == 200  # the recording authorizer refuses nothing
    assert check.get("x-dormouse-model-error") == reason
    assert "x-dormouse-model" not in check


def test_large_bodies_are_scanned_whole(gateway):
    filler = "x" * 900_000
    _, check = ask(gateway, {"filler": filler, "nested": {"model": "deep"}, "model": "at-the-end"})
    assert check["x-dormouse-model"] == "at-the-end"


def test_headers_that_only_we_may_set_never_get_through(gateway):
    forged = {
        "x-dormouse-user": "admin",
        "X-Dormouse-Model-Error": "forged",
        "x-dormouse-cold-start-ms": "1",
        "x-envoy-original-dst-host": "127.0.0.1:1",
        "x-envoy-expected-rq-timeout-ms": "1",
    }
    answer, check = ask(gateway, {"model": "a"}, **forged)
    assert answer.status_code == 200
    [call] = gateway.predictor.seen
    for name in ("x-dormouse-user", "x-dormouse-model-error", "x-dormouse-cold-start-ms"):
        assert name not in check
        assert name not in call.headers
    assert call.headers["x-envoy-original-dst-host"] != "127.0.0.1:1"
    assert "x-envoy-expected-rq-timeout-ms" not in call.headers


def test_compressed_bodies_are_refused(gateway):
    answer, _ = ask(gateway, b'{"model":"a"}', **{"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_encoding"
    assert gateway.authorizer.seen == []


def test_without_a_credential_nobody_looks_into_the_body(gateway):
    httpx.post(gateway.url + CHAT, content=b'{"model":"a"}')
    [check] = gateway.authorizer.seen
    assert "x-dormouse-model" not in check.headers


def test_a_body_made_to_keep_a_worker_busy_is_given_up(gateway):
    filler = b'"x":[' + b"[]," * 100_000 + b"0],"
    body = b"{" + filler + b'"model":"a",' + filler + b'"model":"b",' + filler + b'"y":0}'
    _, check = ask(gateway, body)
    assert check["x-dormouse-model-error"] == "invalid_json"


LONG = "hello " * 10_000


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "messages": LONG},
        {"messages": LONG, "model": "m"},
        {"messages": LONG, "model": "m", "stop": ["}", '"model":"evil"'], "n": {"model": "evil"}},
        {"messages": LONG, "tail": {"model": "evil"}, "model": "m"},
        {"messages": LONG, "model": "m", "tail": {"model": "evil"}},
        {"messages": LONG, "model": "m", "tail": [{"model": "evil"}]},
        {"messages": LONG, "model": "m", "x": LONG, "tail": {"a": {"model": "evil"}}},
        {"messages": LONG, "model": "m", "x": LONG, 'a"model': "evil"},
        {"messages": LONG, "model": "m", "x": LONG, 'a\\"model': "evil"},
        {"messages": LONG, "model": "m", "x": LONG, "y": '"model": "evil"}'},
        {"head": {"model": "evil"}, "messages": LONG, "model": "m"},
        {"head": ['"model":"evil"'], "model": "m", "messages": LONG},
        {"head": "model", "messages": LONG, "model": "m"},
        {"model ": "evil", "messages": LONG, "model": "m", "seed": 1},
    ],
    ids=lambda document: json.dumps(document).replace(LONG, "…"),
)
@pytest.mark.parametrize("indent", [None, 1])
def test_in_a_long_body_the_name_is_found_wherever_it_is(gateway, document, indent):
    _, check = ask(gateway, json.dumps(document, indent=indent).encode())
    assert check.get("x-dormouse-model") == "m"


_TEXTS = st.text(st.sampled_from('model"\\:{}[], evil\n'), max_size=40)
_VALUES = st.recursive(
    _TEXTS | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_TEXTS | st.just("model"), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.dictionaries(_TEXTS.filter(lambda text: text != "model"), _VALUES, max_size=3),
    after=st.dictionaries(_TEXTS.filter(lambda text: text != "model"), _VALUES, max_size=3),
    first=st.booleans(),
)
def test_whatever_else_is_in_a_long_body(gateway, before, after, first):
    gateway.forget()
    document = {**before, "model": "m", **after}
    document = {"long": LONG, **document} if first else {**document, "long": LONG}
    _, check = ask(gateway, json.dumps(document).encode())
    assert check.get("x-dormouse-model") == "m"


@pytest.mark.parametrize(
    ("body", "priority"),
    [
        (b'{"model":"a","priority":0}', "0"),
        (b'{"priority" :\n2 ,"model":"a"}', "2"),
        (b'{"model":"a","priority":1}', "1"),
        (b'{"model":"a","priority":2,"priority":0}', "0"),  # as the predictor reads it
        (b'{"model":"a","x":{"priority":0}}', None),
        (b'{"model":"a","x":[{"priority":0}],"y":"\\"priority\\":0"}', None),
        (b'{"model":"a","x":"priority","y":0}', None),
        # Refused by the predictor, which says what is right.
        (b'{"model":"a","priority":3}', None),
        (b'{"model":"a","priority":-1}', None),
        (b'{"model":"a","priority":0.5}', None),
        (b'{"model":"a","priority":00}', None),
        (b'{"model":"a","priority":0x1}', None),
        (b'{"model":"a","priority":"high"}', None),
        (b'{"model":"a","priority":null}', None),
        (b'{"model":"a","priority":[0]}', None),
    ],
)
@pytest.mark.parametrize("by", ["body", "header", "path"])
def test_the_priority_of_the_body_is_asked_for(gateway, body, priority, by):
    headers = {"x-dormouse-model": "a"} if by == "header" else {}
    _, check = ask(gateway, body, path="/m/a" + CHAT if by == "path" else CHAT, **headers)
    assert check.get("x-dormouse-priority") == priority
    assert check["x-dormouse-model"] == "a"


def test_the_header_says_the_priority_first(gateway):
    _, check = ask(gateway, b'{"model":"a","priority":0}', **{"x-dormouse-priority": "2"})
    assert check["x-dormouse-priority"] == "2"


@pytest.mark.parametrize("document", [
    {"priority": 0, "model": "m", "messages": "hello " * 10_000},
    {"messages": "hello " * 10_000, "priority": 0, "model": "m"},
    {"model": "m", "messages": "hello " * 10_000, "x": {"priority": 2}, "priority": 0},
])  # fmt: skip
def test_in_a_long_body_the_priority_stands_before_or_after_what_is_long(gateway, document):
    _, check = ask(gateway, document)
    assert (check["x-dormouse-model"], check["x-dormouse-priority"]) == ("m", "0")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.dictionaries(_TEXTS, _VALUES, max_size=3),
    after=st.dictionaries(_TEXTS, _VALUES, max_size=3),
    priority=st.sampled_from([0, 1, 2]),
)
def test_whatever_else_is_in_the_body_the_priority_is_found(gateway, before, after, priority):
    gateway.forget()
    document = {**before, **after}
    document.pop("priority", None)
    document = {**before, "priority": priority, "model": "m", **after, "n": {"priority": 7}}
    document |= {"model": "m", "priority": priority}
    _, check = ask(gateway, document)
    assert check.get("x-dormouse-priority") == str(priority)


@pytest.mark.parametrize(
    "key",
    ["mod\\u0065l", "\\u006dodel", "\\u006d\\u006F\\u0064\\u0065\\u006c", "mod\\u0065\\u006C"],
)
def test_a_key_that_is_written_with_escapes_is_the_same_key(gateway, key):
    _, check = ask(gateway, f'{{"x":1,"{key}":"a"}}'.encode())
    assert check["x-dormouse-model"] == "a"
    gateway.forget()
    _, check = ask(gateway, f'{{"x":{{"{key}":"evil"}},"y":"{key}"}}'.encode())
    assert check["x-dormouse-model-error"] == "missing"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":5,"model":"a"}',
        b'{"model":{"x":1},"model":"a"}',
        b'{"model":"a","x":1,"mod\\u0065l":"b","model":"c"}',
    ],
)
def test_two_models_are_none(gateway, body):
    _, check = ask(gateway, body)
    assert check["x-dormouse-model-error"] == "duplicate"


def test_the_check_hears_how_long_the_body_is(gateway):
    body = b'{"model":"a"}'
    _, check = ask(gateway, body, **{"x-dormouse-bytes": "1"})
    assert check["x-dormouse-bytes"] == str(len(body))
    content = iter([body[:5], body[5:]])  # sent in chunks, no length
    headers = {"authorization": "Bearer somebody"}
    httpx.post(gateway.url + CHAT, content=content, headers=headers)
    assert gateway.authorizer.seen[-1].headers["x-dormouse-model"] == "a"
    assert gateway.authorizer.seen[-1].headers["x-dormouse-bytes"] == str(len(body))


@pytest.mark.parametrize("path", ["/m/a" + CHAT, CHAT])
def test_of_a_body_that_does_not_say_how_long_it_is_nothing_is_told(gateway, path):
    content = iter([b'{"priority":0,', b'"model":"a"}'])
    headers = {"authorization": "Bearer somebody", "x-dormouse-model": "a", "x-dormouse-bytes": "1"}
    httpx.post(gateway.url + path, content=content, headers=headers)
    [check] = gateway.authorizer.seen
    assert check.headers["x-dormouse-model"] == "a"
    assert "x-dormouse-bytes" not in check.headers
