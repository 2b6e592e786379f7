"""The nest finds weights where predictors do: each case is asked of both."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from dormouse.catalog import read_catalog
from dormouse_control.nest.model_facts import ModelFacts, model_facts
from dormouse_control.nest.weights import on_this_machine
from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources.store import Opened, RemoteFile, Store
from dormouse_predictors.weights import Weights

SERVICES = Path(__file__).parents[3] / "services"
FACTS = {facts.model: facts for facts in model_facts(read_catalog(SERVICES), "standard")}


def of(source: str, folder: Path, sha256: str | None = None) -> ModelFacts:
    facts = FACTS["dormouse-chat"]
    return replace(facts, source=source, folder=str(folder), sha256=sha256)


def as_predictors_find(model: ModelFacts, downloads: Path) -> Path:
    known = read_catalog(SERVICES).services["chat"].models["dormouse-chat"]
    spec = known.spec.model_copy(update={"source": model.source, "sha256": model.sha256})
    found = replace(known, folder=Path(model.folder), spec=spec)
    return Weights(downloads).resolve(found, lambda _: None)


@pytest.mark.parametrize("model", ["dormouse-chat", "all-minilm-l6-v2"])
def test_weights_that_are_part_of_the_platform(model: str, tmp_path: Path) -> None:
    found = on_this_machine(FACTS[model], tmp_path)
    assert found is not None
    assert found.exists()
    assert found.is_dir() == (model == "all-minilm-l6-v2")


def test_a_file_of_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w.gguf").touch()
    model = of("builtin:w.gguf", tmp_path / "m")
    assert on_this_machine(model, tmp_path) == as_predictors_find(model, tmp_path)


@pytest.mark.parametrize("slashes", ["", "//"])
def test_a_file_anywhere(tmp_path: Path, slashes: str) -> None:
    (tmp_path / "w.gguf").touch()
    model = of(f"file:{slashes}{tmp_path}/w.gguf", tmp_path)
    assert on_this_machine(model, tmp_path) == as_predictors_find(model, tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "builtin:../outside.gguf",
        "builtin:missing.gguf",
        "file:relative.gguf",
        "file:/nowhere/w.gguf",
        "package:no_such_package_of_ours/model",
        "package:os.path/model",
    ],
)
def test_what_predictors_refuse_is_not_there(tmp_path: Path, source: str) -> None:
    (tmp_path / "outside.gguf").touch()
    (tmp_path / "m").mkdir()
    model = of(source, tmp_path / "m")
    assert on_this_machine(model, tmp_path) is None
    with pytest.raises(WeightsError):
        as_predictors_find(model, tmp_path)


def remote(name: str, content: bytes) -> RemoteFile:
    return RemoteFile(name, lambda *_: Opened(0, len(content), None, iter([content])))


def test_a_downloaded_file(tmp_path: Path) -> None:
    source = "hf:owner/repo/w.gguf"
    model = of(source, tmp_path)
    assert on_this_machine(model, tmp_path) is None
    kept = Store(tmp_path).file(source, remote("w.gguf", b"weights"), lambda _: None)
    assert on_this_machine(model, tmp_path) == kept == as_predictors_find(model, tmp_path)


def test_a_downloaded_folder(tmp_path: Path) -> None:
    source = "hf:owner/repo"
    files = [remote("model.safetensors", b"weights"), remote("config.json", b"{}")]
    kept = Store(tmp_path).snapshot(source, lambda: files, lambda _: None)
    found = on_this_machine(of(source, tmp_path), tmp_path)
    assert found == kept == as_predictors_find(of(source, tmp_path), tmp_path)


def test_a_file_that_came_from_elsewhere_but_is_the_same(tmp_path: Path) -> None:
    kept = Store(tmp_path).file("https://a/w", remote("w", b"weights"), lambda _: None)
    digest = hashlib.sha256(b"weights").hexdigest()
    model = of("https://b/w", tmp_path, digest)
    assert on_this_machine(model, tmp_path) == kept == as_predictors_find(model, tmp_path)


def test_what_is_only_half_here_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    key = hashlib.sha256(b"https://a/w").hexdigest()[:32]
    (tmp_path / "partial" / key).write_bytes(b"wei")
    assert on_this_machine(of("https://a/w", tmp_path), tmp_path) is None
