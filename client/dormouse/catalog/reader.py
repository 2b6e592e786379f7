"""Reads a folder of services: `<service>/service.yaml` and `<service>/<model>/<model>.ini`."""

import configparser
from pathlib import Path
from typing import Any, TypeVar  # YAML and INI hold anything until they are checked

import yaml
from pydantic import BaseModel, ValidationError

from dormouse.catalog.schemas import Catalog, Model, ModelSpec, Service, ServiceSpec, check_names

Spec = TypeVar("Spec", bound=BaseModel)


class CatalogError(Exception):
    """A file of the catalogue is wrong; the text names file and field."""


def read_catalog(folder: Path) -> Catalog:
    """Raises `CatalogError`."""
    if not folder.is_dir():
        raise CatalogError(f"{folder}: no such folder of services")
    services = {path.parent.name: _service(path) for path in visible(folder, "*/service.yaml")}
    if not services:
        raise CatalogError(f"{folder}: holds no <service>/service.yaml")
    _refuse_doubles(services)
    return Catalog(services)


def read_service(folder: Path) -> tuple[Service, tuple[CatalogError, ...]]:
    """One service, and what is wrong with those of its models that are left out for it: who only
    wants one of them need not suffer from a mistake in another. Raises `CatalogError`, OSError.
    """
    path = folder / "service.yaml"
    spec = _checked(ServiceSpec, _yaml(path), path)
    models: dict[str, Model] = {}
    wrong: list[CatalogError] = []
    for ini in visible(folder, "*/*.ini"):
        try:
            models[ini.parent.name] = _model(ini)
        except CatalogError as error:
            wrong.append(error)
    return Service(id=folder.name, folder=folder, spec=spec, models=models), tuple(wrong)


def visible(folder: Path, pattern: str) -> list[Path]:
    """What matches in `folder`, without what has a dot before its name: editors' locks and what is
    still being copied."""
    found = (path.relative_to(folder) for path in folder.glob(pattern))
    shown = (path for path in found if not any(part.startswith(".") for part in path.parts))
    return [folder / path for path in sorted(shown)]


def _service(path: Path) -> Service:
    folder = path.parent
    spec = _checked(ServiceSpec, _yaml(path), path)
    models = {ini.parent.name: _model(ini) for ini in visible(folder, "*/*.ini")}
    try:
        check_names(folder.name, list(models))
    except ValidationError as error:
        raise CatalogError(f"{folder}: {_fields(error)}") from error
    for profile, model in spec.default_model.items():
        if model not in models:
            raise CatalogError(
                f"{path}: default_model.{profile}: no model {model!r} in this folder"
            )
    return Service(id=folder.name, folder=folder, spec=spec, models=models)


def _model(path: Path) -> Model:
    if path.stem != path.parent.name:
        raise CatalogError(f"{path}: must be named {path.parent.name}.ini, after its folder")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: {error}") from error
    if parser.sections() != ["model"]:
        raise CatalogError(f"{path}: must have exactly one section, [model]")
    spec = _checked(ModelSpec, dict(parser["model"]), path)
    return Model(id=path.stem, folder=path.parent, spec=spec)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, no such date, …
        raise CatalogError(f"{path}: {error}") from error
    except RecursionError as error:
        raise CatalogError(f"{path}: nested too deep") from error


def _checked(kind: type[Spec], data: Any, path: Path) -> Spec:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise CatalogError(f"{path}: {_fields(error)}") from error


def _fields(error: ValidationError) -> str:
    """Every field that is wrong: a misspelt name shows as one missing and one too many."""
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc']) or 'the file'}: {found['msg']}"
        for found in error.errors()
    )


def _refuse_doubles(services: dict[str, Service]) -> None:
    owners: dict[str, str] = {}
    for service in services.values():
        for name in [*service.models, *service.spec.aliases]:
            if owners.setdefault(name, service.id) != service.id:
                raise CatalogError(
                    f"{service.folder}: {name!r} is already a name in service {owners[name]!r}"
                )
