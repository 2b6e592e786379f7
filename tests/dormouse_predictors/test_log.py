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
