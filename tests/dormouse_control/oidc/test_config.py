"""The setting `oidc_providers`."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dormouse_control.reference import settings_page
from dormouse_control.settings import Settings

GOOD = {
    "name": "company",
    "title": "The Company",
    "issuer": "https://id.example/realms/one",
    "client_id": "dormouse",
    "client_secret": "s3cret",
}


def read(home: Path, *providers: dict[str, Any], **more: Any) -> Settings:
    return Settings(home=home, oidc_providers=providers, **more)


def test_a_list_in_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DORMOUSE_OIDC_PROVIDERS", json.dumps([GOOD | {"register": False}]))

    (provider,) = Settings(home=tmp_path).oidc_providers

    assert provider.client_secret.get_secret_value() == "s3cret"
    assert (provider.scopes, provider.link_verified_email) == ("openid email profile", True)
    assert not provider.registers
    assert "s3cret" not in repr(Settings(home=tmp_path))


def test_a_list_in_the_file_is_read(tmp_path: Path) -> None:
    lines = "\n    ".join(f"{name}: {value}" for name, value in GOOD.items())
    (tmp_path / "dormouse.yaml").write_text(f"oidc_providers:\n  - {lines}\n")

    assert Settings(home=tmp_path).oidc_providers[0].title == "The Company"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "password"},
        {"name": "Company"},
        {"name": "a/b"},
        {"name": ""},
        {"issuer": "http://id.example"},
        {"issuer": "https://user@id.example"},
        {"issuer": "https://id.example/?x=1"},
        {"issuer": "https://id.example/#x"},
        {"issuer": "https://id.example:x"},
        {"issuer": "https://id.example "},
        {"issuer": "id.example"},
        {"issuer": "https://" + "a" * 255},
        {"scopes": "email"},
        {"client_secret": ""},
        {"clientid": "x"},
    ],
    ids=lambda change: "-".join(f"{name}={str(value)[:20]}" for name, value in change.items()),
)
def test_what_cannot_work_is_refused_without_saying_the_secret(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValidationError) as caught:
        read(tmp_path, GOOD | change)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_provider_on_this_machine_needs_no_encryption(host: str, tmp_path: Path) -> None:
    assert read(tmp_path, GOOD | {"issuer": f"http://{host}:8080/realm"}).oidc_providers


def test_a_name_stands_once(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="same name"):
        read(tmp_path, GOOD, GOOD)


def test_browsers_come_back_over_https_or_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="public_url must be https"):
        read(tmp_path, GOOD, public_url="http://dormouse.example")
    assert read(tmp_path, GOOD, public_url="https://dormouse.example").oidc_providers
    assert not read(tmp_path, public_url="http://dormouse.example").oidc_providers


def test_the_reference_names_the_setting() -> None:
    assert "| `oidc_providers` | `DORMOUSE_OIDC_PROVIDERS` | none |" in settings_page()
