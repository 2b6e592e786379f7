import json
import os
import threading
from pathlib import Path

import pytest

from dormouse import CredentialsError
from dormouse.credentials import CredentialsFile, TokenPair, default_path

SERVER = "http://127.0.0.1:5000"
TOKENS = TokenPair("access", "refresh", 1_800_000_000.5, "ada@example.org")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "dormouse" / "credentials.json"


@pytest.fixture
def file(path: Path) -> CredentialsFile:
    return CredentialsFile(path, server=SERVER)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_path_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".config" / "dormouse" / "credentials.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert default_path() == tmp_path / "xdg" / "dormouse" / "credentials.json"
    monkeypatch.setenv("DORMOUSE_CREDENTIALS", str(tmp_path / "mine.json"))
    assert default_path() == tmp_path / "mine.json"


def test_what_is_saved_is_loaded(file: CredentialsFile) -> None:
    assert file.load() is None
    file.save(TOKENS)
    assert file.load() == TOKENS
    file.remove()
    assert file.load() is None
    file.remove()


def test_servers_are_kept_apart(file: CredentialsFile, path: Path) -> None:
    other = CredentialsFile(path, server="https://example.org")
    file.save(TOKENS)
    assert other.load() is None
    other.save(TokenPair("other", "other", 1))
    other.remove()
    assert file.load() == TOKENS


def test_only_the_owner_may_read_it_whatever_the_umask(file: CredentialsFile, path: Path) -> None:
    umask = os.umask(0)
    try:
        file.save(TOKENS)
        with file.lock():
            pass
    finally:
        os.umask(umask)
    assert mode(path) == 0o600
    assert mode(path.with_name("credentials.json.lock")) == 0o600
    assert mode(path.parent) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(file: CredentialsFile, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('{"servers": {}}')
    path.chmod(0o644)
    file.save(TOKENS)
    assert mode(path) == 0o600


def test_saving_replaces_the_file_as_a_whole(
    file: CredentialsFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(TOKENS)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(CredentialsError, match="disk full"):
        file.save(TokenPair("new", "new", 1))
    assert file.load() == TOKENS
    assert [each.name for each in path.parent.iterdir()] == ["credentials.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "dotfiles.json", tmp_path / "credentials.json"
    target.write_text('{"servers": {}}')
    link.symlink_to(target)
    CredentialsFile(link, server=SERVER).save(TOKENS)
    assert link.is_symlink()
    assert CredentialsFile(target, server=SERVER).load() == TOKENS


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"servers": []}',
        json.dumps({"servers": {SERVER: []}}),
        json.dumps({"servers": {SERVER: {"access_token": "x"}}}),
        json.dumps(
            {"servers": {SERVER: {"access_token": "", "refresh_token": "", "expires_at": "x"}}}
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(
    file: CredentialsFile, path: Path, content: str
) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(CredentialsError, match=f"{path} is damaged"):
        file.load()


def test_a_file_that_cannot_be_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file, not a folder")
    file = CredentialsFile(tmp_path / "config" / "credentials.json", server=SERVER)
    with pytest.raises(CredentialsError, match="config"):
        file.save(TOKENS)
    with pytest.raises(CredentialsError, match="config"):
        file.load()
    with pytest.raises(CredentialsError, match="config"), file.lock():
        pass


def test_the_lock_lets_one_in_at_a_time(file: CredentialsFile, path: Path) -> None:
    second = CredentialsFile(path, server=SERVER)
    inside = threading.Event()

    def enter() -> None:
        with second.lock():
            inside.set()

    thread = threading.Thread(target=enter)
    with file.lock():
        thread.start()
        assert not inside.wait(0.1)
    thread.join()
    assert inside.is_set()
