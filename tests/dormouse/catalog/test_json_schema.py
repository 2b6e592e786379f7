import json
from pathlib import Path

import pytest

from dormouse.catalog.__main__ import main
from dormouse.catalog.json_schema import generated
from dormouse.catalog.schemas import ModelSpec, Prices, Resources, Scale, ServiceSpec


@pytest.mark.parametrize("path", sorted(generated()), ids=str)
def test_generated_files_are_fresh(repository: Path, path: Path) -> None:
    """If this fails: `python -m dormouse.catalog`."""
    assert (repository / path).read_text("utf-8") == generated()[path]


def test_the_command_writes_all_files(tmp_path: Path) -> None:
    main(tmp_path)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(generated())


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    schema = json.loads(generated()[Path("services/service.schema.json")])
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["title", "category", "engine", "endpoints"]
    assert schema["properties"]["placement"]["enum"] == ["serverless", "dedicated"]


@pytest.mark.parametrize("kind", [ServiceSpec, ModelSpec, Scale, Resources, Prices])
def test_every_field_has_a_row_in_the_reference(kind: type[ServiceSpec]) -> None:
    reference = generated()[Path("docs/reference/catalog.md")]
    for name, field in kind.model_fields.items():
        assert field.description
        assert f"| `{name}` | {field.description} |" in reference


@pytest.mark.parametrize("service", ["chat", "embeddings"])
def test_services_name_their_schema_for_editors(repository: Path, service: str) -> None:
    path = repository / "services" / service / "service.yaml"
    first = path.read_text("utf-8").splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == repository / "services" / "service.schema.json"
