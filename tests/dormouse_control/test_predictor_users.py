"""Folders as predictors with users of their own need them."""

import os
import socket
import stat
from pathlib import Path

import pytest

from dormouse_control import predictor_users
from dormouse_control.authorizer.accounting.listening import private_datagram_socket
from dormouse_control.control_plane import listen
from dormouse_control.keys import ensure_keys
from dormouse_control.settings import Settings

GROUP = predictor_users.FIRST
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    for folder in (settings.home, settings.run_folder, settings.spool_folder):
        folder.mkdir(mode=0o700)
    return settings


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.mark.parametrize(
    ("user", "setting", "group"),
    [(0, "auto", GROUP), (0, "platform", None), (0, "7000", 7000), (1000, "auto", None)],
)
def test_only_root_gives_predictors_users(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    setting: str,
    group: int | None,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    found = predictor_users.group(Settings(home=tmp_path, predictor_user=setting))
    assert found == group


@pytest.mark.parametrize("wrong", ["", "root", "0", "99", "-1", "1000000000000"])
def test_a_predictor_user_is_never_root(tmp_path: Path, wrong: str) -> None:
    if wrong == "":
        assert Settings(home=tmp_path, predictor_user="auto").predictor_user == "auto"
        return
    with pytest.raises(ValueError, match="predictor_user"):
        Settings(home=tmp_path, predictor_user=wrong)


@as_root
def test_folders_are_entered_and_only_what_is_for_predictors_is_shared(settings: Settings) -> None:
    ensure_keys(settings.keys_folder)  # of a platform from before
    settings.weights.mkdir(mode=0o700)
    (settings.weights / "blobs").mkdir(mode=0o700)
    (settings.weights / "blobs" / "one").write_bytes(b"x")
    (settings.weights / "blobs" / "one").chmod(0o604)  # others may read it, and go on to

    predictor_users.arrange(settings, GROUP)
    with (
        listen(settings.internal_socket, shared=True),
        listen(settings.admin_socket),
        private_datagram_socket(settings.meters_socket),
    ):
        modes = {
            str(path.relative_to(settings.home)): mode(path)
            for path in settings.home.rglob("*")
            if path.suffix != ".pem"
        }
        pems = {mode(path) for path in settings.keys_folder.glob("*.pem")}
    assert predictor_users.arranged(settings, GROUP)
    assert (mode(settings.home), pems) == ("0o710", {"0o600"})
    assert modes == {
        "keys": "0o2710",
        "keys/jwks.json": "0o640",
        "run": "0o2710",
        "run/internal.sock": "0o660",
        "run/admin.sock": "0o600",
        "run/meters.sock": "0o660",
        "spool": "0o710",
        "weights": "0o2750",
        "weights/blobs": "0o3770",
        "weights/blobs/one": "0o644",
        "weights/locks": "0o2770",
        "weights/partial": "0o3770",
        "weights/sources": "0o3770",
    }
    assert (settings.weights / "blobs" / "one").stat().st_gid == GROUP


@as_root
@pytest.mark.parametrize(("home", "file"), [(0o700, "0o600"), (0o710, "0o600"), (0o755, "0o644")])
def test_files_that_only_a_closed_home_protected_are_closed(
    settings: Settings, home: int, file: str
) -> None:
    (settings.home / "dormouse.yaml").write_text("smtp_url: smtps://ada:secret@mail.example.org\n")
    (settings.home / "dormouse.yaml").chmod(0o644)
    elsewhere = settings.home.parent / "elsewhere"
    elsewhere.touch(0o644)
    (settings.home / "link").symlink_to(elsewhere)
    settings.home.chmod(home)
    predictor_users.arrange(settings, GROUP)
    assert (mode(settings.home / "dormouse.yaml"), mode(elsewhere)) == (file, "0o644")


def test_without_it_nothing_is_shared(settings: Settings) -> None:
    ensure_keys(settings.keys_folder)
    with listen(settings.internal_socket, shared=True) as listener:
        assert isinstance(listener, socket.socket)
    private_datagram_socket(settings.meters_socket).close()
    made = [*settings.run_folder.iterdir(), *settings.keys_folder.iterdir()]
    assert {mode(path) for path in made} == {"0o600"}
    assert not predictor_users.arranged(settings, GROUP)


@as_root
def test_a_group_that_has_a_folder_does_not_lose_it(settings: Settings) -> None:
    os.chown(settings.home, 0, 7777)
    settings.home.chmod(0o750)
    with pytest.raises(predictor_users.NotArranged, match=r"home is open to group 7777"):
        predictor_users.arrange(settings, GROUP)
    settings.home.chmod(0o755)  # to everybody is another thing: then there is nothing to take
    predictor_users.arrange(settings, GROUP)
    assert (mode(settings.home), settings.home.stat().st_gid) == ("0o755", 7777)


@as_root
def test_a_key_that_is_published_later_can_be_read_too(settings: Settings) -> None:
    predictor_users.arrange(settings, GROUP)
    ensure_keys(settings.keys_folder)
    published = (settings.keys_folder / "jwks.json").stat()
    assert (stat.S_IMODE(published.st_mode), published.st_gid) == (0o640, GROUP)
