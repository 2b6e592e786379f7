from pathlib import Path

import pytest
from pydantic import ValidationError

from dormouse_control.settings import Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PORT", "PROCESS_METRICS_PORT", "DATABASE_URL", "BASE_URL"):
        monkeypatch.delenv(f"DORMOUSE_{name}", raising=False)


def test_defaults_work_on_one_machine(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    assert settings.public_url == "http://127.0.0.1:5000"
    assert settings.database_url == f"sqlite:///{tmp_path}/dormouse.db"
    assert settings.weights == tmp_path / "weights"
    assert settings.control_plane_socket == tmp_path / "run" / "control-plane.sock"
    assert (settings.services / "chat" / "service.yaml").exists()


def test_environment_beats_the_file_in_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dormouse.yaml").write_text("currency: EUR\nport: 7000\n")
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DORMOUSE_PORT", "8000")

    settings = Settings()

    assert (settings.currency, settings.port) == ("EUR", 8000)
    assert settings.public_url == "http://127.0.0.1:8000"


def test_home_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Settings().home == tmp_path / ".dormouse"


def test_an_unknown_setting_in_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dormouse.yaml").write_text("prot: 7000\n")

    with pytest.raises(ValidationError, match="prot"):
        Settings(home=tmp_path)


def test_a_home_too_long_for_sockets_is_an_error() -> None:
    # "/" + 84 + "/run/control-plane.sock" has 108 bytes.
    assert Settings(home=Path("/" + "a" * 83))
    with pytest.raises(ValidationError, match="choose a shorter DORMOUSE_HOME"):
        Settings(home=Path("/" + "a" * 84))


def test_errors_and_repr_hide_the_database_password(tmp_path: Path) -> None:
    url = "postgresql://dormouse:canary@db/dormouse"

    assert "canary" not in repr(Settings(home=tmp_path, database_url=url))
    with pytest.raises(ValidationError) as caught:
        Settings(home=tmp_path, database_url=url, currency="money")
    assert "canary" not in str(caught.value)


def test_the_supervisor_chooses_a_process_metrics_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    assert settings.process_metrics_port(2) == 5003
    assert Settings(home=tmp_path, metrics_port=0).process_metrics_port(2) == 0

    monkeypatch.setenv("DORMOUSE_PROCESS_METRICS_PORT", "6000")

    assert settings.process_metrics_port(2) == 6000


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_with_tls_the_address_is_https_and_any_host_may_be_listened_on(tmp_path):
    found = Settings(home=tmp_path, tls="self-signed", host="203.0.113.7", port=5443)
    assert found.public_url == "https://127.0.0.1:5443"
    assert found.tls_folder == tmp_path / "tls"


def test_with_tls_the_address_cannot_be_plain(tmp_path):
    with pytest.raises(ValidationError, match="must begin with https"):
        Settings(home=tmp_path, tls="self-signed", public_url="http://models.example.org")


def test_a_folder_without_certificate_or_key_is_refused(tmp_path):
    (tmp_path / "tls.crt").write_text("x")
    with pytest.raises(ValidationError, match=r"no readable .*tls\.key"):
        Settings(home=tmp_path, tls=str(tmp_path))
    (tmp_path / "tls.key").write_text("x")
    assert Settings(home=tmp_path, tls=str(tmp_path)).tls_folder == tmp_path
