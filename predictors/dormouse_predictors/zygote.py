"""A process with the heavy imports done, from which predictors are forked.

    python -m dormouse_predictors.zygote --engine llama --fd 3

Stays single-threaded and runs no tensor operation, so that a fork is safe. Reads one JSON line and
two file descriptors (the predictor's control socket and its witness's) for each predictor wanted;
ends when the socket closes.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

# Maths libraries would start threads when they are imported; a predictor sets its own number later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

MAX_LINE = 1 << 16
DESCRIPTORS = 2


def main(arguments: list[str]) -> int:
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="zygote")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--fd", type=int, required=True)
    options = parser.parse_args(arguments)
    nest = socket.socket(fileno=options.fd)
    shared = _import_all(options.engine)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the nest ends us by closing the socket
    gc.collect()
    gc.freeze()  # the collector must not touch, and so copy, what children share with us
    with contextlib.suppress(ConnectionError):  # the nest is gone, and so are we
        _ready(nest, start)
        _serve(nest, shared)
    return 0


def _import_all(engine: str) -> object:
    """The modules a predictor needs, imported here and not above: `--help` stays quick."""
    from dormouse_predictors import predictor
    from dormouse_predictors.engines import engine_class

    engine_class(engine)
    import httpcore  # noqa: F401
    import uvicorn.lifespan.off
    import uvicorn.protocols.http.httptools_impl  # noqa: F401

    return predictor.prepare()


def _ready(nest: socket.socket, start: float) -> None:
    imports_ms = int((time.monotonic() - start) * 1000)
    nest.sendall(json.dumps({"event": "ready", "imports_ms": imports_ms}).encode() + b"\n")


def _serve(nest: socket.socket, shared: object) -> None:
    buffer, descriptors = b"", list[int]()
    while True:
        data, received, _, _ = socket.recv_fds(nest, MAX_LINE, DESCRIPTORS)
        if not data:
            return
        descriptors += received
        buffer += data
        while b"\n" in buffer and len(descriptors) >= DESCRIPTORS:
            line, _, buffer = buffer.partition(b"\n")
            theirs, descriptors = descriptors[:DESCRIPTORS], descriptors[DESCRIPTORS:]
            if os.fork() == 0:
                for other in descriptors:
                    os.close(other)
                _child(nest, line, theirs, shared)
            for descriptor in theirs:
                os.close(descriptor)


def _child(nest: socket.socket, line: bytes, descriptors: list[int], shared: object) -> NoReturn:
    """Never returns into the zygote's code, and never runs its exit handlers."""
    status = 1
    try:
        nest.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control, witness = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        status = _predict(line, control, witness, shared)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _predict(line: bytes, connection: socket.socket, witness: socket.socket, shared: object) -> int:
    from dormouse_predictors import config, predictor

    try:
        wanted = config.parse(line)
    except config.ConfigError as error:
        failed = {"event": "failed", "code": "internal_error", "message": str(error)}
        connection.sendall(json.dumps(failed).encode() + b"\n")
        return 1
    _set_title(f"dm-{wanted.service}")
    prepared = shared if isinstance(shared, predictor.Shared) else None
    return predictor.run(wanted, connection, prepared, witness)


def _set_title(name: str) -> None:
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name[:15])
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
