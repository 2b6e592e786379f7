import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from dormouse_predictors import log
log.configure("predictor:chat", level="debug")
with structlog.contextvars.bound_contextvars(request_id="r1"):
    structlog.get_logger().info("call", model="tiny")
logging.getLogger("llama.cpp").debug("loading %s", "x")
logging.getLogger("uvicorn.error").warning("odd")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("failed")
"""


def test_every_line_is_json_with_the_same_keys() -> None:
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30
    )
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["call", "loading x", "odd", "failed"]
    assert all({"time", "level", "process"} <= set(line) for line in lines)
    assert lines[0]["request_id"] == "r1"
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert out.stderr == ""


FULL = """
import structlog
from dormouse_predictors import log
log.configure("predictor:chat", stream=open("/dev/full", "w"))
structlog.get_logger().error("this has no room")
import logging
logging.getLogger("uvicorn.error").warning("nor has this")
print("alive")
"""


def test_a_full_disk_ends_nobody_who_logs() -> None:
    out = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=30)
    assert out.stdout == "alive\n"
    assert "Traceback" not in out.stderr.partition("Exception ignored")[0]


SECRETS = """
import structlog
from dormouse_predictors import log
log.configure("predictor:chat")
structlog.get_logger().info("call", authorization="Bearer dm_abcdefghijkl",
    url="https://user:pw123@host/x", prompt_tokens=5)
"""


def test_no_secret_is_logged() -> None:
    out = subprocess.run(
        [sys.executable, "-c", SECRETS], capture_output=True, text=True, timeout=30
    )
    [line] = out.stdout.splitlines()
    assert "dm_abcdefghijkl" not in line
    assert "pw123" not in line
    assert json.loads(line)["prompt_tokens"] == 5
