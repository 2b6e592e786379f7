"""Models of the Hugging Face Hub, or of a mirror named by HF_ENDPOINT.

hf:owner/repo[@revision]               the files that transformers needs, as a folder
hf:owner/repo[@revision]/file.gguf     one file
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources import web
from dormouse_predictors.sources.store import RemoteFile

# Never pickles: no *.bin, *.pt, *.ckpt.
WANTED = (".safetensors", ".json", ".txt", ".model")
_SOURCE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(\S+))?")


def parse(name: str) -> tuple[str, str, str | None]:
    """Repository, revision, file."""
    found = _SOURCE.fullmatch(name)
    if found is None or ".." in name.split("/"):
        raise WeightsError(f"hf:{name}: must be owner/repository[@revision][/file]")
    return found[1], found[2] or "main", found[3]


def file(name: str, sha256: str | None, environment: Mapping[str, str]) -> RemoteFile:
    repo, revision, path = parse(name)
    return _remote(repo, revision, path or "", environment, sha256=sha256)


def listing(
    name: str, sha256: str | None, environment: Mapping[str, str]
) -> Callable[[], Sequence[RemoteFile]]:
    """The wanted files at the top of a repository, all of one commit."""

    def listed() -> Sequence[RemoteFile]:
        repo, revision, _ = parse(name)
        url = f"{_endpoint(environment)}/api/models/{repo}/revision/{revision}?blobs=true"
        answer = web.get_json(url, _headers(environment))
        try:
            return _wanted(repo, answer, sha256, environment)
        except (KeyError, TypeError) as error:
            raise WeightsError(f"hf:{name}: the hub's answer lacks {error}") from error

    return listed


def _wanted(
    repo: str, answer: object, sha256: str | None, environment: Mapping[str, str]
) -> list[RemoteFile]:
    if not isinstance(answer, dict):
        raise TypeError("a repository")
    files = []
    for entry in answer["siblings"]:
        path = entry["rfilename"]
        if "/" in path or not path.endswith(WANTED):
            continue
        digest = (entry.get("lfs") or {}).get("sha256")
        if sha256 and path.endswith(".safetensors"):
            digest = sha256  # the catalogue's word counts, not the hub's
        size = entry.get("size")
        files.append(_remote(repo, answer["sha"], path, environment, size=size, sha256=digest))
    if not any(file.name.endswith(".safetensors") for file in files):
        raise WeightsError(f"hf:{repo}: has no *.safetensors, the only format we load")
    return files


def _remote(
    repo: str,
    revision: str,
    path: str,
    environment: Mapping[str, str],
    *,
    size: int | None = None,
    sha256: str | None = None,
) -> RemoteFile:
    url = f"{_endpoint(environment)}/{repo}/resolve/{revision}/{path}"
    return web.remote(
        url, name=os.path.basename(path), headers=_headers(environment), size=size, sha256=sha256
    )


def _endpoint(environment: Mapping[str, str]) -> str:
    return environment.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("HF_TOKEN")
    return {"authorization": f"Bearer {token}"} if token else {}
