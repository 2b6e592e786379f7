"""KServe's protocol as it answers for us. In a process of its own: its application is global."""

import subprocess
import sys

SCRIPT = """
import asyncio, sys
sys.argv = ["x", "--http_port", "not a number"]  # kserve must not see our command line
from dormouse_predictors.server import KServeApplication, ServedModel

ready = {"a": True, "b": False}
kserve = KServeApplication()
assert sys.argv[1] == "--http_port"

async def get(path):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
             "server": ("x", 1), "client": ("x", 1), "root_path": "", "asgi": {"version": "3.0"}}
    await kserve.app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]

async def main():
    assert (await get("/v2/health/ready"))[0] == 503
    kserve.serve(ServedModel(name, lambda name=name: ready[name]) for name in ready)
    assert await get("/") == (200, b'{"status":"alive"}')
    assert (await get("/v2/health/live"))[0] == 200
    assert (await get("/v2/health/ready"))[0] == 200
    assert (await get("/v2/models/a/ready"))[0] == 200
    assert (await get("/v2/models/b/ready"))[0] == 503
    assert (await get("/v2/models/none/ready"))[0] == 404
    ready["a"] = False
    assert (await get("/v2/health/ready"))[0] == 503

asyncio.run(main())
"""


def test_readiness_is_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
