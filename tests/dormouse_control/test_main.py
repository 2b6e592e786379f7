"""What `dormouse up` says of settings that are wrong."""

from pathlib import Path

import pytest

from dormouse_control import __main__ as command


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("registration", "closed", "setting registration: Input should be 'open', "),
        ("host", "192.0.2.1", "setting host: 192.0.2.1 is not this machine's alone, "),
        ("port", "70000", "setting port: Input should be less than or equal to 65535"),
        ("oidc_providers", "company", 'field "oidc_providers" from source "EnvSettingsSource": in'),
        ("oidc_providers", '[{"name": "X"}]', "setting oidc_providers.0.issuer: Field required"),
        ("database_url", "mysql://x", "setting database_url: must begin with sqlite:///"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(f"DORMOUSE_{name.upper()}", value)
    assert command._up(logs=False) == 1
    errors = capsys.readouterr().err
    assert said in errors
    assert all(line.startswith("dormouse up: ") for line in errors.splitlines())
    assert "Value error" not in errors


def test_a_misspelt_setting_in_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "dormouse.yaml").write_text("verify_emial: true\n")
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path))
    assert command._up(logs=False) == 1
    assert "setting verify_emial: there is none of this name" in capsys.readouterr().err
