"""Weights that are on this machine already: in the catalogue, in a package, or in a file."""

import importlib.util
from pathlib import Path

from dormouse_predictors.errors import WeightsError


def builtin(folder: Path, name: str) -> Path:
    """A file of the model's own folder in the catalogue."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WeightsError(f"builtin:{name}: leads out of the model's folder")
    return _existing(path, f"builtin:{name}")


def package(name: str) -> Path:
    """`import_name/sub/folder` of an installed Python package, which is not imported."""
    module, _, rest = name.partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"package:{name}: the Python package {module!r} is not installed")
    return _existing(Path(spec.submodule_search_locations[0]) / rest, f"package:{name}")


def file(name: str) -> Path:
    """An absolute path, with or without the two slashes of a URL."""
    path = Path(name.removeprefix("//"))
    if not path.is_absolute():
        raise WeightsError(f"file:{name}: must be an absolute path")
    return _existing(path, f"file:{name}")


def _existing(path: Path, source: str) -> Path:
    if not path.exists():
        raise WeightsError(f"{source}: there is nothing at {path}")
    return path
