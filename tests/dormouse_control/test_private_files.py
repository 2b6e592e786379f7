from pathlib import Path

from dormouse_control import private_files


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    secret = private_files.ensure_secret(tmp_path / "keys" / "refresh.key")

    assert len(secret) == 32
    assert private_files.ensure_secret(tmp_path / "keys" / "refresh.key") == secret
