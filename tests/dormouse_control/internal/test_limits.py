"""The limits that calls of a credential count on."""

from pathlib import Path

import pytest

from dormouse.catalog import Catalog, read_catalog
from dormouse_control.identity.models import ApiKey
from dormouse_control.internal.limits import limits
from dormouse_control.internal.schemas import LimitRead
from dormouse_control.settings import Settings
from dormouse_control.tiers.models import Tier

SERVICE = """
title: Texts
category: text
engine: llama
endpoints: [completions]
"""
LIMITED = {
    "free": "",
    "slow": "limits: {requests_per_minute: 30, tokens_per_minute: 4000, concurrent_calls: 3}",
    "narrow": "limits: {concurrent_calls: 1}",
}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name, yaml in LIMITED.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "service.yaml").write_text(SERVICE + yaml)
    return read_catalog(tmp_path)


def found(catalog: Catalog, key: ApiKey | None, *entitled: str) -> list[tuple[object, ...]]:
    rows = limits(
        user_id="usr_x",
        tier=Tier(tokens_per_minute=7),
        key=key,
        entitled=entitled,
        catalog=catalog,
        settings=Settings(requests_per_minute=5, tokens_per_minute=6, concurrent_calls=4),
    )
    return [tuple(getattr(row, name) for name in LimitRead.model_fields) for row in rows]


def test_services_limit_each_user_and_the_widest_limit_comes_last(catalog: Catalog) -> None:
    key = ApiKey(id="key_x", concurrent_calls=2)
    assert found(catalog, key, "slow", "narrow", "free", "gone") == [
        ("usr_x/narrow", "narrow", None, None, 1),
        ("usr_x/slow", "slow", 30, 4000, 3),
        ("key_x", None, None, None, 2),
        ("usr_x", None, 5, 7, 4),
    ]


def test_what_limits_nothing_is_left_out(catalog: Catalog) -> None:
    assert found(catalog, ApiKey(id="key_x"), "free") == [("usr_x", None, 5, 7, 4)]
    assert found(catalog, None) == [("usr_x", None, 5, 7, 4)]
