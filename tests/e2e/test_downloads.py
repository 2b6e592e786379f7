"""A model of the standard profile: chosen by a call, fetched from an imitated hub, answered."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

GGUF = Path(__file__).parents[2] / "services/chat/dormouse-chat/dormouse-chat.gguf"
SECONDS = 2.0


class Hub(BaseHTTPRequestHandler):
    """Has Mistral's file (in truth our tiny one, slowly) and no other."""

    def do_GET(self):
        if "mistral-7b-instruct" not in self.path or "/resolve/" not in self.path:
            self.send_error(404)
            return
        content = GGUF.read_bytes()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        pieces = 20
        size = len(content) // pieces + 1
        for at in range(pieces):
            self.wfile.write(content[at * size : (at + 1) * size])
            self.wfile.flush()
            time.sleep(SECONDS / pieces)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def standard(start_platform):
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        yield start_platform(profile="standard")
    hub.shutdown()
    hub.server_close()


@contextlib.contextmanager
def watching(platform, key):
    """The stages that /api/v1/services showed meanwhile."""
    seen, stop = [], threading.Event()

    def watch():
        while not stop.wait(0.05):
            service = platform.get("/api/v1/services/chat", key).json()
            seen.append((service["status"], service["stage"] or ""))

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    stop.set()
    thread.join()


def test_weights_are_fetched_with_progress_while_other_models_go_on(standard):
    user = standard.sign_up("chat")
    assert standard.chat(user.key, max_tokens=1).status_code == 200  # the starter model is awake
    answers = {}

    def call_mistral():
        answers["mistral"] = standard.chat(user.key, model="mistral-7b-instruct")

    with watching(standard, user.key) as seen:
        caller = threading.Thread(target=call_mistral)
        caller.start()
        standard.until(lambda: any("downloading" in stage for _, stage in seen))
        assert standard.chat(user.key, max_tokens=1).status_code == 200
        assert "mistral" not in answers  # still on its way, and we were not held up
        caller.join()
    answer = answers["mistral"]
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-dormouse-model"] == "mistral-7b-instruct"
    percents = [stage for _, stage in seen if stage.startswith("downloading ")]
    assert len(set(percents)) > 3
    assert standard.chat(user.key, model="mistral-7b-instruct").status_code == 200


def test_weights_that_are_not_to_be_had_are_named_to_the_caller(standard):
    user = standard.sign_up("chat", "embeddings")
    swapped = standard.chat(user.key, model="llama-3-8b-instruct")
    woken = standard.post(
        "/v1/embeddings", user.key, json={"model": "bge-small-en-v1.5", "input": "x"}
    )
    for answer in (swapped, woken):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "waking_failed"
        assert "answered 404" in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after"]) > 1
    assert "404" in standard.get("/api/v1/services/embeddings", user.key).json()["problem"]
    assert standard.chat(user.key, max_tokens=1).status_code == 200
