"""Where a model's weights lie on this machine, if they do: what `predictors/sources/` would find.

Said again here because the nest does not import predictors; a test holds the two together.
"""

import hashlib
import importlib.util
from pathlib import Path

from dormouse_control.nest.model_facts import ModelFacts


def on_this_machine(model: ModelFacts, downloads: Path) -> Path | None:
    """A file or a folder; None if the weights have to be downloaded, or the source is nonsense.

    `downloads` is the setting `weights`. Looks at file names only.
    """
    scheme, _, rest = model.source.partition(":")
    match scheme:
        case "builtin":
            found = Path(model.folder) / rest
            inside = found.resolve().is_relative_to(Path(model.folder).resolve())
            return _existing(found) if inside else None
        case "file":
            path = Path(rest.removeprefix("//"))
            return _existing(path) if path.is_absolute() else None
        case "package":
            return _in_package(rest)
        case _:
            return _downloaded(model, downloads)


def _downloaded(model: ModelFacts, downloads: Path) -> Path | None:
    """By its hash, or by the link that is named after its source."""
    if model.sha256 is not None and (blob := downloads / "blobs" / model.sha256).is_file():
        return blob
    key = hashlib.sha256(model.source.encode()).hexdigest()[:32]
    return _existing(downloads / "sources" / key)


def _in_package(name: str) -> Path | None:
    package, _, rest = name.partition("/")
    if not package.isidentifier():
        return None  # to look inside a package would import it
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    return _existing(Path(folders[0]) / rest) if folders else None


def _existing(path: Path) -> Path | None:
    try:
        return path.resolve() if path.exists() else None
    except OSError:
        return None
