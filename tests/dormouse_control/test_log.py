import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from dormouse_control import log

KEY = "dm_" + "aB3" * 14 + "x"
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl"
REFRESH = "ses_01m7y271kv4dsq3fw5s95jv6y8.3.gXa-hMZH1yVlKEXyOiQe7-hpiUPAi_QhzAMA4hzpXMQ"

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    yield
    root.handlers[:], level, logging.raiseExceptions = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines() -> Any:
    """Logging as a process does it, into memory; the lines written so far."""
    log.configure("test", "info")
    written = io.StringIO()
    logging.getLogger().handlers[0].setStream(written)  # type: ignore[attr-defined]
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_has_time_level_process_event_and_request_id(lines: Any) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("woken", ms=12)
    structlog.get_logger().debug("not shown")

    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "process": "test",
        "event": "woken",
        "ms": 12,
        "request_id": "r-1",
    }


def test_libraries_log_in_the_same_shape(lines: Any) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-2"):
        logging.getLogger("library").warning("slow: %s", "disk")

    (line,) = lines()
    assert (line["event"], line["level"], line["request_id"]) == ("slow: disk", "warning", "r-2")


@pytest.mark.parametrize(
    "name", ["authorization", "password", "access_token", "key", "api-key", "Cookie", "secret"]
)
def test_values_of_secret_names_are_hidden_at_any_depth(lines: Any, name: str) -> None:
    structlog.get_logger().info("x", **{name: "canary"}, deep=[{"a": {name: "canary"}}])

    (line,) = lines()
    assert line[name] == "[hidden]"
    assert line["deep"] == [{"a": {name: "[hidden]"}}]


@pytest.mark.parametrize("name", ["prompt_tokens", "key_id", "monkey", "keys"])
def test_names_that_only_look_secret_are_kept(lines: Any, name: str) -> None:
    structlog.get_logger().info("x", **{name: 5})

    assert lines()[0][name] == 5


@pytest.mark.parametrize(
    "secret",
    [KEY, JWT, REFRESH, HASH, "canary-user:canary-password"],
    ids=["key", "jwt", "refresh", "hash", "url"],
)
def test_what_looks_like_a_credential_is_hidden_in_any_text(lines: Any, secret: str) -> None:
    text = f"postgresql://{secret}@db/x" if "canary" in secret else f"see {secret}!"
    structlog.get_logger().info(text, other=[text], error=ValueError(text))
    logging.getLogger("library").warning("%s", text)

    assert secret not in json.dumps(lines())


def test_a_traceback_is_logged_without_credentials(lines: Any) -> None:
    try:
        raise ValueError(f"no such key: {KEY}")
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = lines()
    assert "Traceback" in line["exception"]
    assert KEY not in line["exception"]


def test_lines_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test", "info")

    structlog.get_logger().info("here")

    assert json.loads(capsys.readouterr().out)["event"] == "here"


def test_a_broken_stdout_leaks_nothing_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test", "info")
    gone = io.StringIO()
    gone.close()
    logging.getLogger().handlers[0].setStream(gone)  # type: ignore[attr-defined]

    structlog.get_logger().info("x", password="canary")

    assert capsys.readouterr().err == ""
