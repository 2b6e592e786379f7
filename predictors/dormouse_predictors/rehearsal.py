"""One call to a predictor of a catalogue of our own, from its start to its end.

Whatever a process does for the first time takes it several times as long as later: it imports,
compiles, connects, and copies each page that it shares with its zygote. A spare (`spares.py`) does
all of it before somebody waits for it. Nothing of the rehearsal is counted, charged or logged.
"""

import contextlib
import http.client
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from dormouse.tokens import InternalClaims, SigningKey, public_jwk, sign_internal
from dormouse_predictors import predictor
from dormouse_predictors.callers import INTERNAL
from dormouse_predictors.config import PredictorConfig
from dormouse_predictors.engines import ENGINES, miniature_of
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.scratch import scratch_folder
from dormouse_predictors.shared import Shared

NAME = "rehearsal"
"""Of the service and of its model."""

SECONDS = 10.0
"""Nothing in it takes so long but on a machine that has no time for it anyhow."""

_TEXT: dict[str, dict[str, object]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1},
}
_CALLS: dict[str, dict[str, dict[str, object]]] = {
    "transformers-embeddings": {"/v1/embeddings": {"input": "a"}},
}
"""By engine; `_TEXT` for all others."""

_SERVICE = """\
title: Rehearsal
category: text
engine: llama
endpoints: [chat.completions, completions, embeddings]
"""
_MODEL = """\
[model]
title = Rehearsal
profiles = starter
source = builtin:weights
size_mb = 1
layers = 1
context = 32
parameters = 1
license = Apache-2.0
"""


def rehearse(engine: str, shared: Shared) -> None:
    """Blocks for as long as it takes. Raises what goes wrong, and leaves threads then."""
    with scratch_folder("dm-rehearsal-") as folder, _played_by(engine) as played:
        _write_catalogue(folder, engine)
        key = _write_key(folder)
        ours, theirs = socket.socketpair()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        caller = threading.Thread(target=_call, args=(ours, engine, key), name="caller")
        with _control_plane(folder / "socket"), hears:
            caller.start()
            predictor.run(
                _config(folder, played),
                theirs,
                replace(shared, metrics=Metrics(CollectorRegistry())),
                speaks,
            )
            caller.join()
    _alone()


@contextlib.contextmanager
def _played_by(engine: str) -> Iterator[str]:
    """The name of the engine that computes: itself, if there is a miniature of its models."""
    if miniature_of(engine) is not None:
        yield engine
        return
    ENGINES[NAME] = "dormouse_predictors.understudy:Understudy"
    try:
        yield NAME
    finally:
        del ENGINES[NAME]


def _write_catalogue(folder: Path, engine: str) -> None:
    service = folder / "services" / NAME
    model = service / NAME
    (model / "weights").mkdir(parents=True)
    (service / "service.yaml").write_text(_SERVICE)
    (model / f"{NAME}.ini").write_text(_MODEL)
    write = miniature_of(engine)
    if write is not None:
        write(model / "weights")


def _write_key(folder: Path) -> SigningKey:
    key = SigningKey(f"{INTERNAL}{NAME}", Ed25519PrivateKey.generate())
    public = public_jwk(key.kid, key.private.public_key())
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    return key


def _config(folder: Path, engine: str) -> PredictorConfig:
    return PredictorConfig(
        service=NAME,
        engine=engine,
        services_folder=str(folder / "services"),
        profile="starter",
        model=NAME,
        jwks=str(folder / "jwks.json"),
        spool=str(folder / "spool"),
        internal_api=str(folder / "socket"),
        weights=str(folder),
        log_level="error",
        threads=1,  # a library's further threads would stay
        gpu_layers=0,
        timeout_seconds=SECONDS,
    )


def _call(nest: socket.socket, engine: str, key: SigningKey) -> None:
    """The nest and the caller in one: wait until it is ready, call, and let it go."""
    nest.settimeout(SECONDS)
    with nest, nest.makefile("rb") as reports, contextlib.suppress(OSError, ValueError):
        for line in reports:
            report = json.loads(line)
            if report["event"] == "ready":
                _post(report["port"], engine, key)
                nest.sendall(b'{"op":"drain","grace_ms":0}\n')


def _post(port: int, engine: str, key: SigningKey) -> None:
    now = time.time()
    claims = InternalClaims("user", "key", NAME, NAME, 1, int(now + SECONDS))
    token = sign_internal(claims, key=key, now=now)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    for path, body in _CALLS.get(engine, _TEXT).items():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps({"model": NAME, **body}), headers)
            connection.getresponse().read()


class _Handler(BaseHTTPRequestHandler):
    """Takes every usage event, and knows of no revocation."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer({"accepted": 1, "rejected": []})

    def do_GET(self) -> None:
        self._answer({"last": 0, "reset": False, "items": []})

    def _answer(self, document: object) -> None:
        said = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def _control_plane(path: Path) -> Iterator[None]:
    with socketserver.ThreadingUnixStreamServer(str(path), _Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), name="control plane")
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


def _alone() -> None:
    """What was started has ended: privileges are given up thread by thread."""
    until = time.monotonic() + SECONDS
    while len(list(Path("/proc/self/task").iterdir())) > 1:
        if time.monotonic() > until:
            raise TimeoutError("threads of the rehearsal did not end")
        time.sleep(0.01)
