"""Servers of models that ours is compared with, each as its own documentation starts it."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from suite import installs
from suite.frameworks import first_reply
from suite.offers import Offer
from suite.processes import free_port, started
from suite.subjects import Subject


@contextlib.contextmanager
def llama_cpp_python(folder: Path, offer: Offer) -> Iterator[Subject]:
    """llama-cpp-python's own server, with the same file, context and threads. Raises
    `NotInstalled`, `NotReady`."""
    port, log = free_port(), folder / "llama-server.log"
    command = [str(installs.llama_server()), "-m", "llama_cpp.server", "--port", str(port)]
    command += ["--model", str(offer.path), "--model_alias", offer.name]
    command += ["--n_ctx", str(offer.context), "--verbose", "false"]
    command += ["--n_threads", str(offer.cpus), "--n_threads_batch", str(offer.cpus)]
    with started(command, log=log, environment={"PYTHONPATH": ""}) as process:
        body = {"model": offer.name, "prompt": "hello", "max_tokens": 1}
        first_reply(port, "/v1/completions", body, time.perf_counter(), log=log)
        yield Subject("llama-cpp-python", port, "none", (process.pid,), model=offer.name)


@contextlib.contextmanager
def infinity(folder: Path, offer: Offer) -> Iterator[Subject]:
    """infinity-emb by PyTorch on the CPU. Raises `NotInstalled`, `NotReady`."""
    port, log = free_port(), folder / "infinity.log"
    command = [str(installs.infinity()), "v2", "--model-id", str(offer.path)]
    command += ["--served-model-name", offer.name, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    command += ["--no-bettertransformer", "--log-level", "error"]
    environment = {
        "PYTHONPATH": "",
        "HF_HUB_OFFLINE": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }
    with started(command, log=log, environment=environment) as process:
        body = {"model": offer.name, "input": ["hello"]}
        first_reply(port, "/embeddings", body, time.perf_counter(), log=log)
        yield Subject("infinity-emb", port, "none", (process.pid,), model=offer.name)
