import json
import subprocess
import sys
import termios
import threading
import time
from typing import Any

import pytest

CHAT = ("POST", "/v1/chat/completions")


def test_an_answer_is_streamed_to_stdout(platform: Any, signed_in: Any) -> None:
    done = signed_in("chat", "hi")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "You said: hi\n", "")
    (request,) = platform.asked(*CHAT)
    assert request.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }


def test_options_travel(platform: Any, signed_in: Any) -> None:
    options = ("--model", "gpt-4o-mini", "--system", "Be brief.", "--temperature", "0.2")
    done = signed_in("chat", "hi", *options, "--max-tokens", "9", "--priority", "0")
    assert done.exit_code == 0
    (request,) = platform.asked(*CHAT)
    assert request.body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.2,
        "max_tokens": 9,
        "priority": 0,
        "stream": True,
    }
    assert request.headers["x-dormouse-priority"] == "0"


def test_the_question_may_be_piped(signed_in: Any) -> None:
    assert signed_in("chat", stdin="hi").stdout == "You said: hi\n"


@pytest.mark.parametrize("command", ["chat", "embed"])
@pytest.mark.parametrize("stdin", ["", " \n"])
def test_an_empty_question_is_wrong_use(
    platform: Any, signed_in: Any, command: str, stdin: str
) -> None:
    for done in (signed_in(command, stdin=stdin), signed_in(command, stdin)):
        assert done.exit_code == 2
        assert "text is empty" in done.stderr
    assert platform.requests == []


def test_an_answer_as_json_is_one_document(signed_in: Any) -> None:
    found = json.loads(signed_in("chat", "hi", "--json").stdout)
    assert found["choices"][0]["message"]["content"] == "You said: hi"
    assert (found["request_id"], found["model_used"], found["cold_start_ms"]) == (
        "req_1", "small", 140
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_who_is_not_entitled_is_told_to_which_service(
    platform: Any, signed_in: Any, options: tuple[str, ...]
) -> None:
    platform.entitled.clear()
    done = signed_in("chat", "hi", "--model", "gpt-4o-mini", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("(not_entitled). Try: dormouse entitle chat\n")


def test_a_model_that_nobody_has_heard_of_is_the_servers_to_refuse(
    platform: Any, signed_in: Any
) -> None:
    platform.once(*CHAT, lambda _, reply: reply.error(404, "model_not_found", "No such model."))
    done = signed_in("chat", "hi", "--model", "gpt-9")
    assert done.stderr == ("dormouse: No such model (model_not_found). Try: dormouse services\n")


def test_a_server_without_a_fitting_model_is_said_so(platform: Any, signed_in: Any) -> None:
    platform.always(
        "GET",
        "/api/v1/services",
        lambda _, reply: reply.json(200, {"items": [platform.service("chat")], "next": None}),
    )
    done = signed_in("embed", "hi")
    assert done.exit_code == 1
    assert "offers no model for embeddings (nothing_offered)" in done.stderr


def test_the_default_model_is_one_that_the_user_may_call(platform: Any, signed_in: Any) -> None:
    other = platform.service("chat") | {
        "id": "texts",
        "entitled": False,
        "models": [{"id": "other", "offered": True}],
    }
    items = [other, platform.service("chat")]
    platform.always(
        "GET",
        "/api/v1/services",
        lambda _, reply: reply.json(200, {"items": items, "next": None}),
    )
    signed_in("chat", "hi")
    assert platform.asked(*CHAT)[0].body["model"] == "small"


def test_an_answer_that_breaks_off_shows_what_came_and_fails(platform: Any, signed_in: Any) -> None:
    parts = [platform.event(platform.chunk("half an"))]
    platform.once(*CHAT, lambda _, reply: reply.events(parts, end=False))
    done = signed_in("chat", "hi")
    assert (done.exit_code, done.stdout) == (1, "half an\n")
    assert "broke off after 1 chunks (connection_failed)" in done.stderr


def test_a_vector_is_shown_short_or_whole(platform: Any, signed_in: Any) -> None:
    assert signed_in("embed", "hi").stdout == "[1.0000, -0.5000, 2.0000] 3 numbers\n"
    found = json.loads(signed_in("embed", "hi", "--json").stdout)
    assert found["data"][0]["embedding"] == [1.0, -0.5, 2.0]
    assert platform.asked("POST", "/v1/embeddings")[0].body["model"] == "mini"
    many = {"data": [{"embedding": [0.5] * 384}], "model": "mini"}
    platform.once("POST", "/v1/embeddings", lambda _, reply: reply.json(200, many))
    shown = signed_in("embed", "hi").stdout
    assert shown == "[0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, …] 384 numbers\n"


@pytest.mark.usefixtures("signed_in")
def test_a_conversation_remembers_and_ends_by_ctrl_d(platform: Any, terminal: Any) -> None:
    shown = terminal("chat")
    shown.wait_for("Ctrl-D ends")
    shown.wait_for("> ")
    shown.type("one\n")
    shown.wait_for("You said: one")
    shown.type("\n")
    shown.type("two\n")
    shown.wait_for("You said: two")
    shown.wait_for("> ", times=4)
    shown.wait_without(termios.ICANON)
    shown.type("\x04")
    assert shown.exit_code() == 0
    first, second = platform.asked(*CHAT)
    assert first.body["messages"] == [{"role": "user", "content": "one"}]
    assert second.body["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "You said: one"},
        {"role": "user", "content": "two"},
    ]


@pytest.mark.usefixtures("signed_in")
def test_ctrl_c_in_an_answer_hangs_up_and_exits_130(platform: Any, terminal: Any) -> None:
    endless = (platform.event(platform.chunk("zz")) for _ in range(100_000))
    platform.once(*CHAT, lambda _, reply: reply.events(endless, pause=0.001))
    shown = terminal("chat", "hi")
    shown.wait_for("zz")
    shown.type("\x03")
    assert shown.exit_code() == 130
    assert "Traceback" not in shown.screen
    assert platform.hung_up.wait(5)


@pytest.mark.usefixtures("signed_in")
def test_a_conversation_as_json_is_wrong_use(terminal: Any) -> None:
    shown = terminal("chat", "--json")
    assert shown.exit_code() == 2


def slow_wake(platform: Any) -> Any:
    """Answers after the service has gone from asleep over waking to awake."""

    def handler(_: Any, reply: Any) -> None:
        time.sleep(0.4)
        platform.service_status, platform.service_stage = "waking", "loading"
        time.sleep(0.8)
        platform.service_status, platform.service_stage = "awake", None
        reply.events([platform.event(platform.chunk("\x1b[2Jhere")), platform.done])

    platform.service_status = "asleep"
    return handler


@pytest.mark.usefixtures("signed_in")
def test_a_wake_is_shown_on_the_terminal_until_the_answer_comes(
    platform: Any, terminal: Any
) -> None:
    platform.once(*CHAT, slow_wake(platform))
    shown = terminal("chat", "hi", stdout=subprocess.PIPE)
    shown.wait_for("chat is asleep, waking… 0.")
    shown.wait_for("chat is asleep, waking… loading ")
    out = shown.process.stdout.read().decode()
    assert shown.exit_code() == 0
    assert out == "\x1b[2Jhere\n"
    assert "here" not in shown.screen
    assert len(platform.asked("GET", "/api/v1/services/chat")) >= 2


@pytest.mark.usefixtures("signed_in")
def test_the_display_is_gone_when_the_answer_begins(platform: Any, terminal: Any) -> None:
    parts = [platform.event(platform.chunk("begun")), platform.event(platform.chunk(" ended"))]
    platform.once(*CHAT, lambda _, reply: reply.events([*parts, platform.done], pause=0.5))
    platform.service_status = "asleep"
    shown = terminal("chat", "hi")
    assert shown.exit_code() == 0
    before, _, after = shown.screen.partition("begun")
    assert "chat is asleep" in before
    assert after == " ended\r\n"


@pytest.mark.usefixtures("signed_in")
def test_an_answer_does_not_steer_the_terminal(platform: Any, terminal: Any) -> None:
    platform.once(*CHAT, slow_wake(platform))
    shown = terminal("chat", "hi")
    assert shown.exit_code() == 0
    assert "[2Jhere" in shown.screen
    assert "\x1b[2J" not in shown.screen


@pytest.mark.usefixtures("signed_in")
def test_without_a_terminal_nobody_is_shown_a_wake(platform: Any) -> None:
    platform.once(*CHAT, slow_wake(platform))
    code = "from dormouse.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "chat", "hi", "--base-url", platform.url],
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"\x1b[2Jhere\n", b"")
    assert platform.asked("GET", "/api/v1/services/chat") == []


@pytest.mark.usefixtures("signed_in")
def test_a_wake_that_cannot_be_watched_does_not_disturb_the_answer(
    platform: Any, terminal: Any
) -> None:
    watched = threading.Event()

    def refuse(_: Any, reply: Any) -> None:
        watched.set()
        reply.error(500, "internal_error")

    platform.always("GET", "/api/v1/services/chat", refuse)
    platform.once(*CHAT, slow_wake(platform))
    shown = terminal("chat", "hi", stdout=subprocess.PIPE)
    out = shown.process.stdout.read().decode()
    assert shown.exit_code() == 0
    assert watched.is_set()
    assert out == "\x1b[2Jhere\n"
    assert "Traceback" not in shown.screen
