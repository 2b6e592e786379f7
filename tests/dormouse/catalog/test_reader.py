from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from dormouse.catalog import CatalogError, Route, read_catalog

SERVICE: dict[str, Any] = {
    "title": "Chat",
    "category": "text",
    "engine": "llama",
    "endpoints": ["chat.completions"],
    "default_model": {"starter": "small"},
    "aliases": ["gpt-4o-mini"],
}
MODEL = {
    "title": "Small",
    "profiles": "starter",
    "source": "builtin:small.gguf",
    "size_mb": "8",
    "layers": "4",
    "context": "2048",
    "parameters": "4000000",
    "license": "Apache-2.0",
}


def write_service(folder: Path, name: str = "chat", **changes: Any) -> Path:
    path = folder / name / "service.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(_changed(SERVICE, changes)))
    return path


def write_model(folder: Path, name: str = "small", service: str = "chat", **changes: Any) -> Path:
    path = folder / service / name / f"{name}.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key} = {value}" for key, value in _changed(MODEL, changes).items()]
    path.write_text("\n".join(["[model]", *lines]))
    return path


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = base | changes
    return {key: value for key, value in merged.items() if value is not ...}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_service(tmp_path)
    write_model(tmp_path)
    return tmp_path


def test_the_catalogue_of_the_repository_is_readable(repository: Path) -> None:
    catalog = read_catalog(repository / "services")
    assert set(catalog.services) == {"chat", "embeddings"}
    for service in catalog.services.values():
        assert set(service.spec.default_model) == {"starter", "standard"}
        for profile, model in service.spec.default_model.items():
            assert model in service.offered(profile)


def test_fields_are_typed_and_have_defaults(folder: Path) -> None:
    write_service(folder, prices={"per_1000_prompt_tokens": 0.00002})
    service = read_catalog(folder).services["chat"]
    assert service.spec.prices.per_1000_prompt_tokens == Decimal("0.00002")
    assert service.spec.prices.per_1000_completion_tokens == 0
    assert service.spec.scale.idle_seconds == 300
    assert service.models["small"].spec.parameters == 4_000_000
    assert service.models["small"].spec.profiles == ["starter"]


def test_standard_offers_the_starter_models_too(folder: Path) -> None:
    write_model(folder, "large", profiles="standard")
    service = read_catalog(folder).services["chat"]
    assert set(service.offered("starter")) == {"small"}
    assert set(service.offered("standard")) == {"small", "large"}


def test_routes_lead_names_and_aliases_to_models(folder: Path) -> None:
    write_model(folder, "large", profiles="standard")
    catalog = read_catalog(folder)
    route = Route("chat", "small", ("chat.completions",))
    assert catalog.routes("starter") == {"small": route, "gpt-4o-mini": route}
    # Standard names no default model here, so its aliases lead nowhere.
    assert set(catalog.routes("standard")) == {"small", "large"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour: "),
        ({"title": ...}, "title: "),
        ({"title": " "}, "title: "),
        ({"engine": "torch"}, "engine: "),
        ({"endpoints": []}, "endpoints: "),
        ({"endpoints": ["images"]}, "endpoints.0: "),
        ({"scale": {"timeout_seconds": 601}}, "scale.timeout_seconds: "),
        ({"scale": {"idle_seconds": 0}}, "scale.idle_seconds: "),
        ({"scale": {"idle_seconds": float("inf")}}, "scale.idle_seconds: "),
        ({"scale": {"min_replicas": -1}}, "scale.min_replicas: "),
        ({"scale": {"min_replicas": 2}}, "scale: Value error, min_replicas must not be more"),
        (
            {"scale": {"keep_warm": ["Mon 08:00-18:00 UTC", "Mon-Fri 8-18 UTC"]}},
            "scale.keep_warm.1: Value error, 'Mon-Fri 8-18 UTC' is not like",
        ),
        ({"scale": {"keep_warm": ["Mon 08:00-18:00 Mars"]}}, "scale.keep_warm.0: Value error, 'M"),
        ({"resources": {"starter": {"memory": "1 GB"}}}, "resources.starter.memory: "),
        ({"resources": {"huge": {}}}, "resources.huge"),
        ({"prices": {"per_1000_prompt_tokens": -1}}, "prices.per_1000_prompt_tokens: "),
        ({"prices": {"per_1000_prompt_tokens": 1e-10}}, "prices.per_1000_prompt_tokens: "),
        ({"default_model": {"starter": "absent"}}, "default_model.starter: no model 'absent'"),
        ({"aliases": ["GPT 4"]}, "aliases.0: "),
    ],
)
def test_a_wrong_service_is_refused_by_file_and_field(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_service(folder, **changes)
    with pytest.raises(CatalogError) as caught:
        read_catalog(folder)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour: "),
        ({"layers": ...}, "layers: "),
        ({"layers": "four"}, "layers: "),
        ({"size_mb": "inf"}, "size_mb: "),
        ({"profiles": "starter, huge"}, "profiles.1: "),
        ({"source": "small.gguf"}, "source: "),
        ({"sha256": "abc"}, "sha256: "),
        ({"pooling": "max"}, "pooling: "),
    ],
)
def test_a_wrong_model_is_refused_by_file_and_field(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_model(folder, **changes)
    with pytest.raises(CatalogError) as caught:
        read_catalog(folder)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    "content",
    ["title: [", "- a list", "", "title: 2024-99-99", "title: !!python/object:os.system x"],
    ids=["broken", "list", "empty", "no-such-date", "python-object"],
)
def test_a_service_that_is_no_service_is_refused_by_file(folder: Path, content: str) -> None:
    path = folder / "chat" / "service.yaml"
    path.write_text(content)
    with pytest.raises(CatalogError) as caught:
        read_catalog(folder)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content", [b"title = x", b"[model]\n[other]\n", b"[model]\nx", b"[model]\ntitle = \xff"]
)
def test_a_model_that_is_no_ini_is_refused_by_file(folder: Path, content: bytes) -> None:
    path = folder / "chat" / "small" / "small.ini"
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        read_catalog(folder)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_percent_sign_is_only_a_percent_sign(folder: Path) -> None:
    write_model(folder, description="95 % right, %(title)s")
    spec = read_catalog(folder).services["chat"].models["small"].spec
    assert spec.description == "95 % right, %(title)s"


def test_a_model_is_named_after_its_folder(folder: Path) -> None:
    path = folder / "chat" / "small" / "small.ini"
    path.rename(path.with_name("tiny.ini"))
    with pytest.raises(CatalogError, match=r"must be named small\.ini"):
        read_catalog(folder)


@pytest.mark.parametrize("name", ["Chat", "my-default", "a-predictor-x", "chat_1", "-chat"])
def test_names_that_the_platform_cannot_carry_are_refused(tmp_path: Path, name: str) -> None:
    write_service(tmp_path, name)
    write_model(tmp_path, service=name)
    with pytest.raises(CatalogError) as caught:
        read_catalog(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("alias", ["small", "gpt-4o-mini"])
def test_a_name_means_one_service_only(folder: Path, alias: str) -> None:
    write_service(folder, "texts", aliases=[alias], default_model={})
    with pytest.raises(CatalogError, match=f"'{alias}' is already a name in service 'chat'"):
        read_catalog(folder)


def test_a_folder_without_services_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no"):
        read_catalog(tmp_path)
    with pytest.raises(CatalogError, match="no such folder"):
        read_catalog(tmp_path / "absent")
