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

KSERVE = "0.21.0"
MLSERVER = "1.7.1"
BENTOML = "1.4.39"
RAY = "2.60.0"
INFINITY = "0.0.78"
TORCH = "2.13.0"
LLAMA = "0.3.36"


class NotInstalled(Exception):
    """A peer cannot be had here; the text says why, for the results."""


def litellm() -> Path:
    """Its `litellm` command. Raises `NotInstalled`."""
    folder = cache() / f"litellm-{LITELLM}"
    return _once(folder, "bin/litellm", _install_litellm)


def portkey() -> Path:
    """Its script for Node. Raises `NotInstalled`."""
    if shutil.which("npm") is None:
        raise NotInstalled("needs Node.js and npm")
    folder = cache() / f"portkey-{PORTKEY}"
    return _once(folder, "node_modules/@portkey-ai/gateway/build/start-server.js", _install_portkey)


def kserve() -> Path:
    """The Python that has it. Raises `NotInstalled`."""
    return _python("kserve", KSERVE, [f"kserve=={KSERVE}"])


def mlserver() -> Path:
    """Its `mlserver` command. Raises `NotInstalled`."""
    return _python("mlserver", MLSERVER, [f"mlserver=={MLSERVER}"]).with_name("mlserver")


def bentoml() -> Path:
    """Its `bentoml` command. Raises `NotInstalled`."""
    return _python("bentoml", BENTOML, [f"bentoml=={BENTOML}"]).with_name("bentoml")


def ray() -> Path:
    """The Python that has it. Raises `NotInstalled`."""
    return _python("ray", RAY, [f"ray[serve]=={RAY}"])


def infinity() -> Path:
    """Its `infinity_emb` command. Raises `NotInstalled`."""
    # By itself it would bring PyTorch for GPUs; and it was written for what these were then.
    first = [f"torch=={TORCH}"]
    then = [f"infinity-emb[torch,server]=={INFINITY}", "transformers<4.49", "typer<0.16"]
    then += ["click<8.2", "sentence-transformers<4", "optimum<1.25", "huggingface-hub<1"]
    return _python("infinity", INFINITY, first, then).with_name("infinity_emb")


def llama_server() -> Path:
    """A Python with llama-cpp-python's own server. Raises `NotInstalled`.

    From the wheel that setup keeps: to compile it takes minutes.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    wheel = next((root / "dormouse" / "wheels").glob(f"llama_cpp_python-{LLAMA}-*.whl"), None)
    if wheel is None:
        raise NotInstalled("scripts/setup.sh has kept no wheel of llama-cpp-python here")
    return _python("llama-server", LLAMA, [f"llama-cpp-python[server] @ {wheel.as_uri()}"])


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


def cache() -> Path:
    """The folder where benchmarks keep what takes long to make."""
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


def _python(name: str, version: str, *steps: list[str]) -> Path:
    """The Python of a virtual environment of its own, with what each step installs."""

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        for step in steps:
            _run([str(folder / "bin/pip"), "install", "--quiet", *step])
        # As `make setup` does for ours: missing bytecode doubles the time of every import.
        _run([str(folder / "bin/python"), "-m", "compileall", "-q", str(folder / "lib")], any=True)

    return _once(cache() / f"{name}-{version}", "bin/python", install)


def _install_litellm(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin/pip"), "install", "--quiet", f"litellm[proxy]=={LITELLM}"])


def _install_portkey(folder: Path) -> None:
    _run(["npm", "install", "--silent", "--prefix", str(folder), f"@portkey-ai/gateway@{PORTKEY}"])


def _run(
    command: list[str], environment: dict[str, str] | None = None, *, any: bool = False
) -> None:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode and not any:
        said = (done.stderr or done.stdout).strip().splitlines()
        name = Path(command[0]).name
        raise NotInstalled(f"`{name} {command[1]}` failed: {said[-1] if said else 'silently'}")
