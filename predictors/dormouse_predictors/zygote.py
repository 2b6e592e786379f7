"""A process with the heavy imports done, from which predictors are forked.

    python -m dormouse_predictors.zygote --engine llama --fd 3

Stays single-threaded and runs no tensor operation, so that a fork is safe. One child is forked
ahead and waits (`spares.py`); others are forked when they are wanted. Reads one JSON line and four
file descriptors for each predictor wanted: its control socket, its witness's, what to write "0" to
so as to enter its control group (or /dev/null), and a pipe with its credentials as JSON.
Ends when the socket closes.

With `--group` its predictors will have users of that group; `--folders` are what they must reach.
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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from dormouse_predictors import confinement, maths_threads  # noqa: F401  before all others
from dormouse_predictors.spares import Spares

MAX_LINE = 1 << 16
DESCRIPTORS = 4


def main(arguments: list[str]) -> int:
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="zygote")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--group", type=int)
    parser.add_argument("--folders", type=Path, nargs="*", default=[])
    options = parser.parse_args(arguments)
    nest = socket.socket(fileno=options.fd)
    unreachable = None if options.group is None else _open_ways(options.folders, options.group)
    shared = _import_all(options.engine)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the nest ends us by closing the socket
    gc.collect()
    gc.freeze()  # the collector must not touch, and so copy, what children share with us
    with contextlib.suppress(ConnectionError):  # the nest is gone, and so are we
        _ready(nest, start, unreachable)
        _serve(nest, options.engine, shared)
    return 0


def _import_all(engine: str) -> object:
    """The modules a predictor needs, imported here and not above: `--help` stays quick."""
    from dormouse_predictors import predictor, rehearsal, shared, understudy  # noqa: F401
    from dormouse_predictors.engines import engine_class

    engine_class(engine)
    import anyio._backends._asyncio  # noqa: F401
    import httpcore  # noqa: F401
    import uvicorn.lifespan.off
    import uvicorn.protocols.http.httptools_impl  # noqa: F401

    return shared.prepare()


def _open_ways(folders: Sequence[Path], group: int) -> str | None:
    """What hinders predictors from having users of their own."""
    from dormouse_predictors import ways

    try:
        ways.open_ways([*folders, *ways.pythons()], group)
    except (OSError, ways.Unreachable) as error:
        return str(error)
    return None


def _ready(nest: socket.socket, start: float, unreachable: str | None) -> None:
    imports_ms = int((time.monotonic() - start) * 1000)
    said: dict[str, object] = {"event": "ready", "imports_ms": imports_ms}
    if unreachable is not None:
        said["unreachable"] = unreachable
    nest.sendall(json.dumps(said).encode() + b"\n")


def _serve(nest: socket.socket, engine: str, shared: object) -> None:
    spares = Spares(partial(_rehearse, engine, shared), partial(_become, shared))
    buffer, descriptors = b"", list[int]()
    while True:
        spares.wait_for(nest)
        data, received, _, _ = socket.recv_fds(nest, MAX_LINE, DESCRIPTORS)
        if not data:
            return
        descriptors += received
        buffer += data
        while b"\n" in buffer and len(descriptors) >= DESCRIPTORS:
            line, _, buffer = buffer.partition(b"\n")
            theirs, descriptors = descriptors[:DESCRIPTORS], descriptors[DESCRIPTORS:]
            if not spares.hand(line, theirs) and os.fork() == 0:
                nest.detach()  # closed with all else that is not the child's
                _child(line, theirs, shared)
            for descriptor in theirs:
                os.close(descriptor)


def _rehearse(engine: str, shared: object, kept: int) -> None:
    """In a spare: give up what is the zygote's, and do everything once."""
    from dormouse_predictors import rehearsal
    from dormouse_predictors.shared import Shared

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    confinement.close_all_but([kept])
    _set_title("dm-spare")
    if isinstance(shared, Shared):
        rehearsal.rehearse(engine, shared)
    gc.collect()
    gc.freeze()


def _child(line: bytes, descriptors: list[int], shared: object) -> NoReturn:
    """Never returns into the zygote's code, and never runs its exit handlers."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    confinement.close_all_but(descriptors)
    _become(shared, line, descriptors)


def _become(shared: object, line: bytes, descriptors: list[int]) -> NoReturn:
    status = 1
    try:
        control, witness, entrance, credentials = descriptors
        _enter(entrance)
        _learn(credentials)
        status = _predict(
            line, socket.socket(fileno=control), socket.socket(fileno=witness), shared
        )
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _enter(entrance: int) -> None:
    """A predictor that cannot be limited serves nevertheless, as where there are no groups."""
    try:
        os.write(entrance, b"0")
    except OSError as error:
        sys.stderr.write(json.dumps({"event": "predictor_not_limited", "reason": str(error)}))
        sys.stderr.write("\n")
    finally:
        os.close(entrance)


def _learn(credentials: int) -> None:
    with open(credentials, "rb") as pipe:
        os.environ.update(json.load(pipe))


def _predict(line: bytes, connection: socket.socket, witness: socket.socket, shared: object) -> int:
    from dormouse_predictors import config, predictor
    from dormouse_predictors.shared import Shared

    try:
        wanted = config.parse(line)
    except config.ConfigError as error:
        return _fail(connection, str(error))
    _set_title(f"dm-{wanted.service}")  # before it is not ours to write any more
    try:
        confinement.confine(wanted.user, wanted.group)
    except OSError as error:
        return _fail(connection, f"not confined: {error}")
    prepared = shared if isinstance(shared, Shared) else None
    return predictor.run(wanted, connection, prepared, witness)


def _fail(connection: socket.socket, message: str) -> int:
    failed = {"event": "failed", "code": "internal_error", "message": message}
    connection.sendall(json.dumps(failed).encode() + b"\n")
    return 1


def _set_title(name: str) -> None:
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name[:15])
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
