"""How far a service has come that wakes for a stream, told before the answer begins."""

import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import openai
import pytest

SERVICES = Path(__file__).parents[2] / "services"
GGUF = SERVICES / "chat/dormouse-chat/dormouse-chat.gguf"
PREFER = {"prefer": "dormouse-progress"}
BODY = {"model": "dormouse-chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
SECONDS = 3.0
PIECES = 30


class Slow(BaseHTTPRequestHandler):
    """Has our tiny model, and gives it away slowly, or not at all."""

    def do_GET(self):
        if "missing" in self.path:
            self.send_error(404)
            return
        content = GGUF.read_bytes()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        size = len(content) // PIECES + 1
        for at in range(PIECES):
            self.wfile.write(content[at * size : (at + 1) * size])
            time.sleep(SECONDS / PIECES)

    def log_message(self, *_):
        pass


@pytest.fixture
def platform(start_platform, tmp_path, request):
    """Its only model has to be downloaded, for which it wakes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    services = tmp_path / "services"
    shutil.copytree(SERVICES, services)
    ini = services / "chat/dormouse-chat/dormouse-chat.ini"
    name = getattr(request, "param", "model.gguf")
    source = f"http://127.0.0.1:{server.server_port}/{name}"
    ini.write_text(ini.read_text().replace("builtin:dormouse-chat.gguf", source))
    services.chmod(0o755)
    tmp_path.chmod(0o755)
    yield start_platform(services=services)
    server.shutdown()
    server.server_close()


def lines(platform, user, **headers):
    url, given = f"{platform.url}/v1/chat/completions", {"authorization": f"Bearer {user.key}"}
    with httpx.stream(
        "POST", url, json=BODY | {"stream": True}, headers=given | headers, timeout=60
    ) as answer:
        assert answer.status_code == 200
        return answer.headers, [line for line in answer.iter_lines() if line]


def told(found):
    return [json.loads(line.removeprefix(": dormouse ")) for line in found if line[:1] == ":"]


def test_a_stream_tells_how_far_its_service_has_come(platform):
    user = platform.sign_up("chat")
    headers, found = lines(platform, user, **PREFER)
    assert headers["preference-applied"] == "dormouse-progress"
    comments = told(found)
    percents = [each["percent"] for each in comments if each["stage"] == "downloading"]
    assert len(percents) > 1
    assert percents == sorted(percents)
    assert any(each.get("eta_ms") for each in comments)
    assert found[-1] == "data: [DONE]"
    assert len([line for line in found if line.startswith("data: {")]) > 2
    # That it waited for a wake is in the books, although it did not wait at the gateway.
    platform.until(lambda: usage(platform, user))
    assert usage(platform, user)[0]["cold_start_ms"] > 1000 * SECONDS / 2


def usage(platform, user):
    return platform.get("/api/v1/usage", user.access_token).json()["items"]


def test_the_official_client_gets_its_answer_as_ever(platform):
    user = platform.sign_up("chat")
    client = openai.OpenAI(base_url=platform.url, api_key=user.key, default_headers=PREFER)
    parts = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**BODY, stream=True)
        if chunk.choices
    ]
    assert "".join(parts)
    whole = client.chat.completions.create(**BODY)  # nothing to tell without a stream
    assert whole.object == "chat.completion"


@pytest.mark.parametrize("platform", ["missing.gguf"], indirect=True)
def test_a_wake_that_fails_is_an_error_whether_or_not_something_was_told(platform):
    user = platform.sign_up("chat")
    url, given = f"{platform.url}/v1/chat/completions", {"authorization": f"Bearer {user.key}"}
    body = BODY | {"stream": True}
    answer = httpx.post(url, json=body, headers=given | PREFER, timeout=60)
    said = answer.text
    assert answer.status_code in (200, 503)
    assert '"waking_failed"' in said
    assert "[DONE]" not in said
