"""Predictors forked by a real zygote, as the nest does it."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def post(ready: dict[str, Any], token: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{ready['port']}/v1/chat/completions",
        headers={"authorization": f"Bearer {token}"} | headers,
        json=body,
        timeout=20,
    )


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_zygote_has_one_thread(nest: Any) -> None:
    assert nest.ready["event"] == "ready"
    assert threads(nest.process.pid) == 1


@pytest.fixture
def known(nest: Any, tmp_path: Path) -> Any:
    """The nest, telling secrets and giving an entrance that is a plain file."""
    nest.credentials = {"HF_TOKEN": "for one predictor"}
    nest.entrance = tmp_path / "entrance"
    yield nest
    nest.credentials = {}
    nest.entrance = Path(os.devnull)


def test_a_predictor_has_what_it_was_given_and_nothing_of_others(
    known: Any, chat_config: Any
) -> None:
    """Its entrance, its secrets, no descriptor of the zygote or of another predictor."""
    first = known.wake(**chat_config)
    known.entrance.write_bytes(b"")
    first_pid = first.next("ready")["pid"]
    second = known.wake(**chat_config)
    second_pid = second.next("ready")["pid"]
    zygote = sockets(known.process.pid)
    assert sockets(first_pid) & sockets(second_pid) == set()
    assert (sockets(first_pid) | sockets(second_pid)) & zygote == set()
    assert known.entrance.read_bytes() == b"0"
    assert str(known.entrance) not in {
        os.readlink(each) for each in Path(f"/proc/{second_pid}/fd").iterdir()
    }
    status = Path(f"/proc/{second_pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    for process in (known.process.pid, second_pid):
        assert b"for one predictor" not in Path(f"/proc/{process}/environ").read_bytes()
    for predictor in (first, second):
        predictor.drain(0)
        predictor.wait_closed()
        predictor.close()


def test_a_predictor_that_cannot_enter_its_group_serves_nevertheless(
    known: Any, chat_config: Any
) -> None:
    known.entrance = Path("/dev/full")
    predictor = known.wake(**chat_config)
    assert predictor.next("ready")
    assert '"event": "predictor_not_limited"' in known.log.read_text()
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_that_cannot_be_had_is_why_it_fails(nest: Any, chat_config: Any) -> None:
    predictor = nest.wake(**chat_config, user=-1, group=60600)
    assert "not confined" in predictor.next("failed")["message"]
    predictor.wait_closed()
    predictor.close()


def sockets(pid: int) -> set[str]:
    found = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
    return {each for each in found if each.startswith("socket:")}


def test_a_predictor_wakes_answers_and_drains(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any
) -> None:
    start = time.monotonic()
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    assert time.monotonic() - start < 2
    before = {each["event"]: each for each in predictor.seen}
    assert set(before) == {"listening", "stage", "ready"}
    assert (before["listening"]["pid"], before["listening"]["port"]) == (
        ready["pid"],
        ready["port"],
    )
    assert (before["stage"]["stage"], before["stage"]["model"]) == ("loading", "tiny")
    assert (ready["model"], str(ready["pid"]) in children(nest.process.pid)) == ("tiny", True)
    assert Path(f"/proc/{ready['pid']}/comm").read_text() == "dm-chat\n"
    answer = post(ready, keys.token(), CHAT | {"max_tokens": 4}, **{"x-request-id": "zygote-1"})
    assert answer.json()["usage"]["completion_tokens"] == 4
    assert internal_api.of("zygote-1")["data"]["completion_tokens"] == 4
    assert predictor.next("load")["in_flight"] == 1
    assert predictor.next("load")["in_flight"] == 0
    metrics = httpx.get(f"http://127.0.0.1:{ready['metrics_port']}/metrics").text
    assert 'dormouse_predictor_tokens_total{kind="completion",model="tiny"} 4.0' in metrics
    predictor.drain()
    predictor.wait_closed()
    assert gone(ready["pid"])
    assert list(Path(chat_config["spool"]).iterdir()) == []
    predictor.close()


def test_predictors_of_one_zygote_are_independent(nest: Any, chat_config: Any, keys: Any) -> None:
    """Each has its own port and its own randomness."""
    two = [nest.wake(**chat_config) for _ in range(2)]
    readies = [predictor.next("ready") for predictor in two]
    assert readies[0]["port"] != readies[1]["port"]
    hot = CHAT | {"temperature": 2, "top_p": 1, "top_k": 0, "min_p": 0, "max_tokens": 20}
    answers = [post(ready, keys.token(), hot).json() for ready in readies]
    texts = {answer["choices"][0]["message"]["content"] for answer in answers}
    ids = {answer["id"] for answer in answers}
    assert (len(texts), len(ids)) == (2, 2)
    for predictor in two:
        predictor.drain(0)
        predictor.wait_closed()
        predictor.close()


def test_a_call_during_draining_is_answered(nest: Any, chat_config: Any, keys: Any) -> None:
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    predictor.drain(grace_ms=600)
    time.sleep(0.2)
    answer = post(ready, keys.token(), CHAT | {"max_tokens": 2})
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    predictor.wait_closed()
    with pytest.raises(httpx.ConnectError):
        post(ready, keys.token(), CHAT)
    predictor.close()


def test_a_stream_that_runs_is_finished_while_draining(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any
) -> None:
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    forbid_end = {str(token): -100 for token in (261, 262, 263)}
    body = CHAT | {"stream": True, "n": 8, "logit_bias": forbid_end}
    headers = {"authorization": f"Bearer {keys.token()}", "x-request-id": "drained"}
    url = f"http://127.0.0.1:{ready['port']}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers) as answer:
        parts = answer.iter_raw()
        next(parts)
        predictor.drain(0)
        text = b"".join(parts)
    assert text.endswith(b"data: [DONE]\n\n")
    predictor.wait_closed()
    predictor.close()
    data = internal_api.of("drained", timeout=0.1)["data"]  # forwarded before it was gone
    assert (data["outcome"], data["completion_tokens"]) == ("completed", 8 * 237)


@pytest.mark.parametrize("how", ["SIGTERM", "nest gone"])
def test_a_predictor_that_is_told_to_go_goes(nest: Any, chat_config: Any, how: str) -> None:
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    if how == "SIGTERM":
        os.kill(ready["pid"], signal.SIGTERM)
        assert predictor.next("draining")
        predictor.wait_closed()
        predictor.close()
    else:
        predictor.close()
    assert gone(ready["pid"])


def test_ctrl_c_is_the_nests_business(nest: Any, chat_config: Any, keys: Any) -> None:
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    os.kill(ready["pid"], signal.SIGINT)
    os.kill(nest.process.pid, signal.SIGINT)
    time.sleep(0.1)
    assert post(ready, keys.token(), CHAT | {"max_tokens": 1}).status_code == 200
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()


@pytest.mark.parametrize(
    "changes",
    [{"model": "nothing"}, {"services_folder": "/nowhere"}, {"service": "other"}],
    ids=["model", "folder", "service"],
)
def test_a_predictor_that_cannot_start_says_why(
    nest: Any, chat_config: Any, changes: dict[str, str]
) -> None:
    predictor = nest.wake(**(chat_config | changes))
    failed = predictor.next("failed")
    assert failed["code"] == "waking_failed"
    assert failed["message"]
    predictor.wait_closed()
    predictor.close()


def test_a_zygote_outlives_a_bad_line_and_a_killed_child(nest: Any, chat_config: Any) -> None:
    bad = nest.wake(nonsense=True)
    assert "configuration" in bad.next("failed")["message"]
    bad.wait_closed()
    bad.close()
    predictor = nest.wake(**chat_config)
    ready = predictor.next("ready")
    os.kill(ready["pid"], signal.SIGKILL)
    predictor.wait_closed()
    predictor.close()
    assert gone(ready["pid"])  # reaped, not a zombie
    again = nest.wake(**chat_config)
    assert again.next("ready")
    again.drain(0)
    again.wait_closed()
    again.close()


def test_a_zygote_ends_when_its_nest_does(nest_maker: Any) -> None:
    nest = nest_maker("llama")
    nest.close()
    assert nest.process.returncode == 0
