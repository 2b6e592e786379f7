"""Downloads from a real server on 127.0.0.1 that imitates the hub, and misbehaves when told to."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dormouse.catalog import Model
from dormouse_predictors.errors import WeightsError
from dormouse_predictors.weights import Weights

GGUF = bytes(range(256)) * 4000
SAFETENSORS = b"safe" * 1000
FILES = {
    "model.safetensors": SAFETENSORS,
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "pytorch_model.bin": b"a pickle",
    "onnx/model.onnx": b"other",
    "README.md": b"words",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub:
    """`cut`: how many times to hang up half-way, `down`: whether to fail from then on.

    `asked`: (path, range) of every request.
    """

    def __init__(self) -> None:
        self.cut = 0
        self.down = False
        self.pause = 0.0
        self.version = '"one"'
        self.gguf = GGUF
        self.asked: list[tuple[str, str | None]] = []
        self.tokens: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append((self.path, self.headers["range"]))
                hub.tokens.append(self.headers["authorization"])
                if self.path.startswith("/api/models/o/r/revision/"):
                    self.answer(json.dumps(hub.listing()).encode())
                elif self.path.startswith("/o/r/resolve/"):
                    name = self.path.split("/", 5)[5]
                    self.redirect(f"/cdn/{name}")
                elif self.path.startswith("/cdn/"):
                    name = self.path.removeprefix("/cdn/")
                    data = hub.gguf if name == "m.gguf" else FILES.get(name)
                    self.send_error(404) if data is None else self.ranged(data)
                else:
                    self.send_error(404)

            def ranged(self, data: bytes) -> None:
                if hub.down and not hub.cut:
                    self.send_error(503)
                    return
                start = 0
                if self.headers["range"] and self.headers["if-range"] == hub.version:
                    start = int(self.headers["range"].removeprefix("bytes=").rstrip("-"))
                self.answer(data[start:], 206 if start else 200)

            def answer(self, data: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.send_header("etag", hub.version)
                self.end_headers()
                if hub.cut and len(data) > 100_000:
                    hub.cut -= 1
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                time.sleep(hub.pause)
                self.wfile.write(data)

            def redirect(self, path: str) -> None:
                self.send_response(302)
                self.send_header("location", path)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def listing(self) -> dict[str, Any]:
        def entry(name: str, data: bytes) -> dict[str, Any]:
            lfs = {"lfs": {"sha256": sha256(data)}} if name.endswith("safetensors") else {}
            return {"rfilename": name, "size": len(data), **lfs}

        return {"sha": "c0ffee", "siblings": [entry(*item) for item in FILES.items()]}

    def downloads(self) -> list[str]:
        return [path for path, _ in self.asked if path.startswith("/cdn/")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def weights(hub: Hub, tmp_path: Path) -> Weights:
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "secret"}
    return Weights(tmp_path / "weights", environment=environment, pause=0.01)


@pytest.fixture
def model(model_spec: Any, tmp_path: Path) -> Any:
    return lambda source, **spec: Model("m", tmp_path, model_spec(source=source, **spec))


def complete(folder: Path) -> list[Path]:
    """What looks as if it could be loaded."""
    found = [*folder.glob("blobs/*"), *folder.glob("sources/*")]
    return [path for path in found if path.exists()]


def nothing(_percent: int) -> None:
    pass


def test_a_file_of_the_hub_is_downloaded_once(hub: Hub, weights: Weights, model: Any) -> None:
    told: list[int] = []
    wanted = model("hf:o/r@v2/m.gguf")
    path = weights.resolve(wanted, told.append)
    assert path.read_bytes() == GGUF
    assert hub.asked[0][0] == "/o/r/resolve/v2/m.gguf"
    assert (told[-1], told == sorted(told)) == (100, True)
    assert weights.resolve(wanted, told.append) == path
    assert hub.downloads() == ["/cdn/m.gguf"]
    assert hub.tokens[0] == "Bearer secret"


def test_a_dropped_connection_is_resumed(hub: Hub, weights: Weights, model: Any) -> None:
    hub.cut = 2
    told: list[int] = []
    path = weights.resolve(model("hf:o/r/m.gguf", sha256=sha256(GGUF)), told.append)
    assert path.read_bytes() == GGUF
    ranges = [asked for path, asked in hub.asked if path.startswith("/cdn/")]
    half, rest = len(GGUF) // 2, len(GGUF) // 4
    assert ranges == [None, f"bytes={half}-", f"bytes={half + rest}-"]
    assert (told[-1], told == sorted(told)) == (100, True)


def test_a_later_process_goes_on_where_one_stopped(
    hub: Hub, weights: Weights, model: Any, tmp_path: Path
) -> None:
    hub.cut, hub.down = 1, True
    with pytest.raises(WeightsError, match="download failed"):
        weights.resolve(model("hf:o/r/m.gguf"), nothing)
    assert complete(tmp_path / "weights") == []
    hub.down, before = False, len(hub.asked)
    fresh = Weights(tmp_path / "weights", environment={"HF_ENDPOINT": hub.url})
    assert fresh.resolve(model("hf:o/r/m.gguf"), nothing).read_bytes() == GGUF
    asked = [wanted for path, wanted in hub.asked[before:] if path.startswith("/cdn/")]
    assert len(asked) == 1
    assert asked[0] is not None


def test_a_changed_file_is_not_joined_to_the_old_half(
    hub: Hub, weights: Weights, model: Any
) -> None:
    hub.cut, hub.down = 1, True
    with pytest.raises(WeightsError):
        weights.resolve(model("hf:o/r/m.gguf"), nothing)
    hub.down, hub.version, hub.gguf = False, '"two"', GGUF[::-1]
    assert weights.resolve(model("hf:o/r/m.gguf"), nothing).read_bytes() == GGUF[::-1]


def test_a_wrong_hash_is_refused_and_leaves_nothing(
    hub: Hub, weights: Weights, model: Any, tmp_path: Path
) -> None:
    wanted = model("hf:o/r/m.gguf", sha256=sha256(GGUF))
    hub.gguf = b"evil" + GGUF[4:]
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.resolve(wanted, nothing)
    assert complete(tmp_path / "weights") == []
    assert list((tmp_path / "weights" / "partial").iterdir()) == []
    hub.gguf = GGUF
    assert weights.resolve(wanted, nothing).read_bytes() == GGUF


def test_a_repository_is_a_folder_of_what_is_safe(hub: Hub, weights: Weights, model: Any) -> None:
    told: list[int] = []
    folder = weights.resolve(model("hf:o/r"), told.append)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == SAFETENSORS
    assert all("/c0ffee/" in path for path, _ in hub.asked if "/resolve/" in path)
    assert (told[-1], told == sorted(told)) == (100, True)
    before = len(hub.asked)
    assert weights.resolve(model("hf:o/r"), told.append) == folder
    assert len(hub.asked) == before


def test_the_catalogues_hash_of_a_repository_counts(
    weights: Weights, model: Any, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.resolve(model("hf:o/r", sha256="0" * 64), nothing)
    assert not list((tmp_path / "weights" / "sources").iterdir())


def test_a_file_that_is_not_there_is_said_so_at_once(weights: Weights, model: Any) -> None:
    with pytest.raises(WeightsError, match="404"):
        weights.resolve(model("hf:o/r/missing.gguf"), nothing)


def test_a_plain_url(hub: Hub, weights: Weights, model: Any) -> None:
    path = weights.resolve(model(f"{hub.url}/cdn/m.gguf"), nothing)
    assert path.read_bytes() == GGUF
    assert path.name == sha256(GGUF)


def test_every_filesystem_of_fsspec(weights: Weights, model: Any) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/weights/m.gguf", GGUF)
    memory.pipe("/sentence/model.safetensors", SAFETENSORS)
    memory.pipe("/sentence/model.bin", b"pickle")
    assert weights.resolve(model("memory:weights/m.gguf"), nothing).read_bytes() == GGUF
    folder = weights.resolve(model("memory:sentence"), nothing)
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("source", ["nosuch:thing", "memory:nothing/there"])
def test_what_cannot_be_read_is_named(weights: Weights, model: Any, source: str) -> None:
    with pytest.raises(WeightsError, match=r"there|nosuch"):
        weights.resolve(model(source), nothing)


FETCH = """
import sys
from pathlib import Path
from dormouse.catalog import Model, ModelSpec
from dormouse_predictors.weights import Weights
spec = ModelSpec(title="t", profiles=["starter"], source="hf:o/r/m.gguf", size_mb=1, layers=1,
                 context=1, parameters=1, license="x")
weights = Weights(Path(sys.argv[1]), environment={"HF_ENDPOINT": sys.argv[2]})
assert weights.resolve(Model("m", Path(), spec), lambda _: None).stat().st_size == 1_024_000
"""


def test_two_processes_download_once(hub: Hub, tmp_path: Path) -> None:
    hub.pause = 0.5
    arguments = [sys.executable, "-c", FETCH, str(tmp_path / "weights"), hub.url]
    processes = [subprocess.Popen(arguments) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert hub.downloads() == ["/cdn/m.gguf"]


def test_the_same_content_of_two_sources_lies_there_once(
    hub: Hub, weights: Weights, model: Any, tmp_path: Path
) -> None:
    first = weights.resolve(model("hf:o/r/m.gguf"), nothing)
    second = weights.resolve(model(f"{hub.url}/cdn/m.gguf"), nothing)
    assert first == second
    assert len(list((tmp_path / "weights" / "blobs").iterdir())) == 1
