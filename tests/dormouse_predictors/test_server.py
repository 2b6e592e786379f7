"""KServe's protocol as it answers for us. In a process of its own: its application is global."""

import subprocess
import sys

SCRIPT = """
import asyncio, sys
sys.argv = ["x", "--http_port", "not a number"]  # kserve must not see our command line
from dormouse_predictors.health import Health, answers
assert "kserve" not in sys.modules

ready = {"a": True, "b": False}
loaded = []

def load():
    from dormouse_predictors.server import KServeApplication
    loaded.append(KServeApplication())
    assert sys.argv[1] == "--http_port"
    return loaded[0]

async def get(path, application):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
             "server": ("x", 1), "client": ("x", 1), "root_path": "", "asgi": {"version": "3.0"}}
    assert answers(path), path
    await application(scope, receive, send)
    return sent[0]["status"], sorted(sent[0]["headers"]), sent[1]["body"]

PROBES = ["/", "/v2/health/live", "/v2/health/ready", "/v2/models/a/ready", "/v2/models/b/ready",
          "/v2/models/none/ready", '/v2/models/"\u00e9</ready']

async def main():
    health = Health(ready, ready.get, load)
    ours = [[await get(path, health) for path in PROBES]]
    ready["a"] = False
    ours.append([await get(path, health) for path in PROBES])
    assert [[each[0] for each in found] for found in ours] == [
        [200, 200, 200, 200, 503, 404, 404], [200, 200, 503, 503, 503, 404, 404]]
    assert "kserve" not in sys.modules  # probes do not wait for it

    found = await asyncio.gather(*(get("/v2/models/a", health) for _ in range(3)))
    assert found[0][0] == 200 and b'"name":"a"' in found[0][2], found
    assert len(loaded) == 1
    assert (await get("/v2/models/none", health))[0] == 404

    kserve = loaded[0].app
    assert [await get(path, kserve) for path in PROBES] == ours[1]
    ready["a"] = True
    assert [await get(path, kserve) for path in PROBES] == ours[0]

    ready["new"] = True  # a model that was dropped into the catalogue meanwhile
    assert (await get("/v2/models/new", health))[0] == 200
    assert await get("/v2/models/new/ready", health) == await get("/v2/models/new/ready", kserve)

asyncio.run(main())
"""


def test_probes_are_answered_as_kserve_answers_them_and_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
