"""T74: schemas and grammars are not offered: they are refused by name before anything reads them.
A thousand of them, and answers that must be JSON, leave the predictor as it was.
"""

import json

import psutil
import pytest

CHAT = "/v1/chat/completions"
MIB = 1024 * 1024


def nested(depth):
    found = {"type": "string"}
    for _ in range(depth):
        found = {"type": "object", "properties": {"a": found}, "required": ["a"]}
    return found


RECURSIVE = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}
HOSTILE = {
    "small": {"type": "object"},
    "deep": nested(40),
    "recursive": RECURSIVE,
    "a loop": {"$ref": "#"},
    "somewhere else": {"$ref": "http://192.0.2.1/schema.json"},
    "wide": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}},
    "many ways": {"anyOf": [{"enum": [str(n)]} for n in range(5000)]},
    "a pattern": {"type": "string", "pattern": "(a+)+$"},
    "of endless numbers": {"type": "array", "minItems": 2**63, "items": {"type": "number"}},
    "no schema": {"type": "nonsense"},
    "no object": 7,
}
FIELDS = ["grammar", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
          "structured_outputs", "json_schema", "regex", "ebnf"]  # fmt: skip


@pytest.fixture(scope="module")
def predictor(platform, account):
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    [found] = platform.predictors(account.key, "chat")
    return psutil.Process(found["pid"])


def ask(platform, account, **fields):
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "dormouse-chat", "messages": messages, "max_tokens": 4, **fields}
    return platform.post(CHAT, account.key, json=body)


def wanted(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


def refused(answer):
    assert answer.status_code == 400, answer.text[:300]
    return answer.json()["error"]["code"], answer.json()["error"]["param"]


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_t74_a_schema_is_refused_by_name_whatever_it_holds(platform, account, predictor, schema):
    answer = ask(platform, account, response_format=wanted(schema))
    assert refused(answer) == ("unsupported_parameter", "response_format")
    tool = {"type": "function", "function": {"name": "x", "parameters": schema}}
    assert refused(ask(platform, account, tools=[tool])) == ("unsupported_parameter", "tools")
    assert predictor.is_running()


def test_t74_a_schema_too_deep_to_be_read_is_no_call(platform, account, predictor):
    deep = json.dumps(wanted(0)).replace("0", '{"a":' * 30_000 + "1" + "}" * 30_000)
    body = f'{{"model":"dormouse-chat","messages":[],"response_format":{deep}}}'.encode()
    answer = platform.post(CHAT, account.key, content=body)
    assert refused(answer)[0] in ("invalid_json", "unsupported_parameter", "bad_request")
    assert predictor.is_running()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ['root ::= "a" root', "root ::= (", {}, None], ids=repr)
def test_t74_grammars_are_refused_by_name(platform, account, predictor, field, value):
    answer = ask(platform, account, **{field: value})
    if value is None and answer.status_code == 200:
        return  # null asks for nothing
    assert refused(answer) == ("unknown_parameter", field)
    assert predictor.is_running()


@pytest.mark.parametrize("kind", [*[{"type": t} for t in ("grammar", "regex", "", "JSON")], [], 1,
                                  {"type": "json_object", "schema": {}}], ids=repr)  # fmt: skip
def test_t74_other_formats_are_refused(platform, account, kind):
    assert refused(ask(platform, account, response_format=kind))[1] == "response_format"


def test_t74_a_thousand_schemas_leave_nothing_behind(platform, account, predictor):
    """Nothing keeps them; nor does anything grow with answers that must be JSON."""

    def a_hundred(start):
        for number in range(start, start + 100):
            schema = {"type": "object", "properties": {f"p{number}": nested(20)}}
            assert ask(platform, account, response_format=wanted(schema)).status_code == 400
        for number in range(start, start + 10):
            answer = ask(
                platform,
                account,
                messages=[{"role": "user", "content": f"As JSON: {number}"}],
                response_format={"type": "json_object"},
                max_tokens=24,
            )
            assert answer.status_code == 200

    a_hundred(0)
    memory, files = predictor.memory_full_info().uss, predictor.num_fds()
    for start in range(100, 1000, 100):
        a_hundred(start)
    assert predictor.memory_full_info().uss < memory + 24 * MIB
    assert predictor.num_fds() <= files + 4
