"""Fixtures of the predictor tests.

gguf_writer, model_spec, service_writer   the functions that make what the fixtures below hold
tiny_gguf      a random two-layer llama model with byte tokens and a ChatML template
tiny           the same, as a LoadableModel
llama          a LlamaEngine with `tiny` loaded
keys           signs internal tokens
internal_api   a control plane that only takes usage events and revokes, on a Unix socket
services       a catalogue with the service `chat` and the models `tiny` and `other`
nest           a real zygote of engine llama, from which predictors are forked
bench          the HTTP surface on an engine whose tokens come when the test says so
chat_config    what the nest would tell a predictor of `services`
"""

import contextlib
import json
import os
import queue
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gguf
import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse.catalog import ModelSpec
from dormouse.tokens import InternalClaims, SigningKey, public_jwk, sign_internal
from dormouse_predictors.base import LoadableModel
from dormouse_predictors.engines.llama import LlamaEngine
from fixtures.predictor_bench import bench  # noqa: F401  a fixture

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 256


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for each of the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in kept}
    others = (byte for byte in range(256) if byte not in letters)
    letters |= {byte: chr(256 + at) for at, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def _bytewise(writer: gguf.GGUFWriter) -> int:
    """GPT-2's kind of vocabulary: token n is byte n, then a few words and ChatML's controls."""
    words = ["he", "th", "in", "er", "an"]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*_byte_letters(), *words, *specials])
    writer.add_token_types([gguf.TokenType.NORMAL] * 261 + [gguf.TokenType.CONTROL] * 3)
    writer.add_token_merges([f"{word[0]} {word[1]}" for word in words])
    writer.add_bos_token_id(261)
    writer.add_eos_token_id(263)
    writer.add_add_bos_token(False)
    return 264


def _sentencepiece(writer: gguf.GGUFWriter) -> int:
    """Llama 2's kind: <unk> <s> </s>, 256 bytes, then "▁", "he" and "▁he" (token 261)."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", "he", "▁he", "h", "e"]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * 5
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-3.0, -1.0, -2.0, -4.0, -5.0])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    return len(tokens)


def write_gguf(
    path: Path,
    *,
    template: str | None = CHATML,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    sentencepiece: bool = False,
) -> Path:
    """A llama model of random weights."""
    writer = gguf.GGUFWriter(path, "llama")
    vocab = _sentencepiece(writer) if sentencepiece else _bytewise(writer)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 4)
    writer.add_vocab_size(vocab)
    if template is not None:
        writer.add_chat_template(template)
    _tensors(writer, np.random.default_rng(seed), vocab, layers, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(
    writer: gguf.GGUFWriter, random: np.random.Generator, vocab: int, layers: int, width: int
) -> None:
    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.4).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    add("token_embd.weight", vocab, width)
    add("output.weight", vocab, width)
    ones("output_norm.weight")
    for layer in range(layers):
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}.weight", width, width)
        add(f"blk.{layer}.ffn_gate.weight", 2 * width, width)
        add(f"blk.{layer}.ffn_up.weight", 2 * width, width)
        add(f"blk.{layer}.ffn_down.weight", width, 2 * width)


def spec(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "title": "Tiny",
            "profiles": ["starter"],
            "source": "builtin:tiny.gguf",
            "size_mb": 1,
            "layers": 2,
            "context": CONTEXT,
            "parameters": 1000,
            "license": "Apache-2.0",
        }
        | changes
    )


@pytest.fixture(scope="session")
def gguf_writer() -> Callable[..., Path]:
    return write_gguf


@pytest.fixture(scope="session")
def model_spec() -> Callable[..., ModelSpec]:
    return spec


@pytest.fixture(scope="session")
def service_writer() -> Callable[..., Path]:
    return write_service


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("weights") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny(tiny_gguf: Path) -> LoadableModel:
    return LoadableModel("tiny", tiny_gguf, spec())


@pytest.fixture
def llama(tiny: LoadableModel) -> Iterator[LlamaEngine]:
    engine = LlamaEngine()
    engine.load(tiny, threads=1)
    yield engine
    engine.unload()


# A predictor as the nest sees it


class InternalApi:
    """Stands in for the control plane: keeps usage events and tells of revocations.

    `down` makes it answer 503.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.revocations: list[dict[str, Any]] = []
        self.down = False
        self._closing = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if not api.down:
                    api.events += body["events"]
                answer = json.dumps({"accepted": len(body["events"]), "rejected": []}).encode()
                self.send_response(503 if api.down else 200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                answer = json.dumps(api.news(int(asked["after"][0]), float(asked["wait"][0])))
                with contextlib.suppress(OSError):  # whoever asked may have gone
                    self.send_response(503 if api.down else 200)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer.encode())

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def news(self, after: int, wait: float) -> dict[str, Any]:
        """A long poll, as the control plane answers it."""
        deadline = time.monotonic() + wait
        while not (items := [item for item in self.revocations if item["seq"] > after]):
            if after == -1 or self.down or self._closing or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return {"last": len(self.revocations), "reset": False, "items": items}

    def revoke(self, subject: str, *, kind: str = "user", service: str | None = None) -> None:
        seq = len(self.revocations) + 1
        item = {"seq": seq, "kind": kind, "id": subject, "service": service, "cuts": True}
        self.revocations.append(item)

    def of(self, request_id: str, *, timeout: float = 5) -> dict[str, Any]:
        """The one event of a call; waits for it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = [event for event in self.events if event["id"] == request_id]
            if found:
                assert len(found) == 1
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"no usage event {request_id}")

    def close(self) -> None:
        self._closing = True
        self._server.shutdown()
        self._server.server_close()


class Nest:
    """Starts a real zygote and has predictors forked from it, each of which is told `credentials`
    and writes to `entrance` as if that led to a control group."""

    def __init__(self, engine: str, log: Path) -> None:
        self.credentials: dict[str, str] = {}
        self.entrance = Path(os.devnull)
        ours, theirs = socket.socketpair()
        self._socket = ours
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "dormouse_predictors.zygote"),
                    *("--engine", engine, "--fd", str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                stdout=out,
                stderr=out,
            )
        theirs.close()
        ours.settimeout(60)
        self.ready = json.loads(ours.makefile("rb").readline())

    def wake(self, **config: Any) -> "Predictor":
        ours, theirs = socket.socketpair()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        credentials, told = os.pipe()
        os.write(told, json.dumps(self.credentials).encode())
        os.close(told)
        with theirs, speaks, self.entrance.open("wb") as entrance, open(credentials) as pipe:
            line = json.dumps(config).encode() + b"\n"
            given = [each.fileno() for each in (theirs, speaks, entrance, pipe)]
            socket.send_fds(self._socket, [line], given)
        return Predictor(ours, hears)

    def close(self) -> None:
        self._socket.close()
        self.process.wait(10)


class Predictor:
    """The nest's end of a control socket; `witness` hears of the answers that stream.

    Whatever model it wants to load, it is told to have it in main memory.
    """

    def __init__(self, connection: socket.socket, witness: socket.socket) -> None:
        self.witness = witness
        self._socket = connection
        self._found: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def next(self, event: str) -> dict[str, Any]:
        """The next event of that name."""
        for found in self._events():
            if found["event"] == event:
                return found
        raise AssertionError(f"the predictor ended without {event}: {self.seen}")

    def drain(self, grace_ms: int = 100) -> None:
        self._say(op="drain", grace_ms=grace_ms)

    def wait_closed(self) -> None:
        for _ in self._events():
            pass

    def _events(self) -> Iterator[dict[str, Any]]:
        """But for the sign of life that comes every second."""
        while (found := self._found.get(timeout=30)) is not None:
            self.seen.append(found)
            yield found
        self._found.put(None)  # for whoever asks again

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines, contextlib.suppress(OSError):
            while line := lines.readline():
                found = json.loads(line)
                if found["event"] == "place":
                    self._say(op="placed", number=found["number"], gpu=None, gpu_layers=0)
                elif found["event"] != "alive":
                    self._found.put(found)
        self._found.put(None)

    def _say(self, **message: Any) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(10)
        self._socket.close()
        self.witness.close()


class Keys:
    """Signs internal tokens as the authorizer does."""

    def __init__(self, folder: Path) -> None:
        self.key = SigningKey("internal-test", Ed25519PrivateKey.generate())
        self.jwks = folder / "jwks.json"
        jwk = public_jwk(self.key.kid, self.key.private.public_key())
        self.jwks.write_text(json.dumps({"keys": [jwk]}))

    def claims(
        self, model: str = "tiny", *, service: str = "chat", **changes: Any
    ) -> InternalClaims:
        found = InternalClaims(
            user="usr_test",
            credential="key_test",
            service=service,
            model=model,
            priority=1,
            expires_at=int(time.time()) + 30,
        )
        return replace(found, **changes)

    def token(self, model: str = "tiny", *, service: str = "chat", **changes: Any) -> str:
        claims = Keys.claims(self, model, service=service, **changes)
        return sign_internal(claims, key=self.key, now=time.time())


SERVICE = {
    "title": "Chat",
    "category": "text",
    "engine": "llama",
    "endpoints": ["chat.completions", "completions"],
    "default_model": {"starter": "tiny"},
}


def write_service(folder: Path, models: dict[str, dict[str, object]], **changes: object) -> Path:
    """A catalogue with one service; returns the folder of services. Values of `models` are .ini."""
    service = folder / str(changes.pop("id", "chat"))
    service.mkdir(parents=True)
    (service / "service.yaml").write_text(yaml.safe_dump(SERVICE | changes))
    for name, changed in models.items():
        (service / name).mkdir()
        values = {"title": name, "profiles": "starter", "source": "builtin:tiny.gguf"}
        values |= {"size_mb": "1", "layers": "2", "context": str(CONTEXT), "parameters": "1000"}
        values |= {"license": "Apache-2.0"} | {key: str(value) for key, value in changed.items()}
        lines = "".join(f"{key} = {value}\n" for key, value in values.items())
        (service / name / f"{name}.ini").write_text(f"[model]\n{lines}")
    return folder


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """Unix sockets want short paths."""
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def internal_api(short_path: Path) -> Iterator[InternalApi]:
    api = InternalApi(short_path / "internal.sock")
    yield api
    api.close()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service `chat` with the random models `tiny` and `other`."""
    folder = write_service(tmp_path_factory.mktemp("services"), {"tiny": {}, "other": {}})
    write_gguf(folder / "chat" / "tiny" / "tiny.gguf")
    write_gguf(folder / "chat" / "other" / "tiny.gguf", seed=1)
    return folder


@pytest.fixture(scope="session")
def nest_maker(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Nest]:
    return lambda engine: Nest(engine, tmp_path_factory.mktemp("nest") / "zygote.log")


@pytest.fixture(scope="session")
def nest(nest_maker: Callable[[str], Nest]) -> Iterator[Nest]:
    nest = nest_maker("llama")
    yield nest
    nest.close()


@pytest.fixture(scope="session")
def chat_config(
    services: Path, keys: Keys, internal_api: InternalApi, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return {
        "service": "chat",
        "engine": "llama",
        "services_folder": str(services),
        "profile": "starter",
        "model": "tiny",
        "jwks": str(keys.jwks),
        "spool": str(tmp_path_factory.mktemp("spool")),
        "internal_api": str(internal_api.path),
        "weights": str(tmp_path_factory.mktemp("home") / "weights"),
        "log_level": "info",
        "threads": 1,
        "timeout_seconds": 30,
        "queue_length": 8,
    }
