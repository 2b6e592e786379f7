"""What the authorizer is told of each name, by catalogue and profile."""

from pathlib import Path

import pytest

from dormouse.catalog import Catalog, Profile, read_catalog
from dormouse_control.internal.routes import routes
from dormouse_control.settings import Settings

MIB = 1024 * 1024
SERVICE = """
title: Texts
category: text
engine: transformers-embeddings
endpoints: [embeddings]
scale: {max_body_mb: 4, timeout_seconds: 100}
resources:
  starter: {cpu: "1"}
  standard: {gpu: 2}
prices: {per_1000_prompt_tokens: 0.00002, per_gpu_second: 0.001, per_load: 0.01}
default_model: {starter: mini, standard: mini}
"""
MODEL = """[model]
title = Mini
profiles = starter
source = builtin:weights
size_mb = 1
layers = 1
context = 256
parameters = 1000
license = Apache-2.0
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    folder = tmp_path / "services" / "texts"
    (folder / "mini").mkdir(parents=True)
    (folder / "service.yaml").write_text(SERVICE)
    (folder / "mini" / "mini.ini").write_text(MODEL)
    return read_catalog(tmp_path / "services")


@pytest.mark.parametrize(("profile", "gpu"), [("starter", False), ("standard", True)])
def test_gpus_are_the_profiles(catalog: Catalog, profile: Profile, gpu: bool) -> None:
    assert routes(catalog, Settings(profile=profile))["mini"].gpu is gpu


@pytest.mark.parametrize(("platforms", "bytes"), [(32, 4 * MIB), (2, 2 * MIB)])
def test_a_body_may_be_as_long_as_service_and_platform_allow(
    catalog: Catalog, platforms: int, bytes: int
) -> None:
    assert routes(catalog, Settings(max_body_mb=platforms))["mini"].max_body == bytes


def test_the_reserve_has_loads_gpus_and_a_price_for_every_byte(catalog: Catalog) -> None:
    found = routes(catalog, Settings())["mini"]
    assert found.context == 256
    assert found.reserve == {"embeddings": (10_000_000 + 105 * 2 * 1_000_000, 20)}
