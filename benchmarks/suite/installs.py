"""Peers, installed once into a cache folder of this machine: $DORMOUSE_BENCH_CACHE or ~/.cache."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LITELLM = "1.106.2"
PORTKEY = "1.15.2"
PRISMA = "0.15.0"


class NotInstalled(Exception):
    """A peer cannot be had here; the text says why, for the results."""


def litellm() -> Path:
    """Its `litellm` command. Raises `NotInstalled`."""
    folder = _cache() / f"litellm-{LITELLM}"
    return _once(folder, "bin/litellm", _install_litellm)


def portkey() -> Path:
    """Its script for Node. Raises `NotInstalled`."""
    if shutil.which("npm") is None:
        raise NotInstalled("needs Node.js and npm")
    folder = _cache() / f"portkey-{PORTKEY}"
    return _once(folder, "node_modules/@portkey-ai/gateway/build/start-server.js", _install_portkey)


def prisma(litellm: Path) -> None:
    """The database client of LiteLLM, whose engine its maker's server has, no package index.
    Raises `NotInstalled`."""
    folder = litellm.parents[1]
    done = folder / "prisma-made"
    if done.exists():
        return
    (schema,) = folder.glob("lib/python3*/site-packages/litellm/proxy/schema.prisma")
    path = f"{litellm.parent}{os.pathsep}{os.environ['PATH']}"
    _run([str(litellm.parent / "pip"), "install", "--quiet", f"prisma=={PRISMA}"])
    _run(
        [str(litellm.parent / "prisma"), "generate", "--schema", str(schema)],
        environment={"PATH": path},
    )
    done.touch()


def _cache() -> Path:
    given = os.environ.get("DORMOUSE_BENCH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "dormouse-bench"


def _once(folder: Path, wanted: str, install: Callable[[Path], None]) -> Path:
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        done.touch()
    return folder / wanted


def _install_litellm(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin/pip"), "install", "--quiet", f"litellm[proxy]=={LITELLM}"])


def _install_portkey(folder: Path) -> None:
    _run(["npm", "install", "--silent", "--prefix", str(folder), f"@portkey-ai/gateway@{PORTKEY}"])


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        name = Path(command[0]).name
        raise NotInstalled(f"`{name} {command[1]}` failed: {said[-1] if said else 'silently'}")
