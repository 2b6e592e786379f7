"""T114: a platform on one machine is its owner's alone."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dormouse_control.identity.models import User
from dormouse_control.settings import Settings
from fixtures.control_plane_process import Process

NOBODY = 65534
# Tries to open every file and to connect to every socket that it is named; prints what worked.
INTRUDER = """
import socket, sys
for path in sys.argv[1:]:
    try:
        open(path, "rb").read(1)
        print("read", path)
    except OSError:
        pass
    try:
        open(path, "r+b").close()
        print("opened", path)
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
        print("connected", path)
    except OSError:
        pass
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="dm-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _python() -> str:
    """One outside of anybody's home, if there is one."""
    usual = "/usr/bin/python3"
    return usual if os.access(usual, os.X_OK) else sys.executable


def intrude(*paths: Path) -> list[str]:
    """What another user of this machine gets at."""
    become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    found = subprocess.run(
        [*become, _python(), "-c", INTRUDER, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return found.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_t114_another_user_of_the_machine_gets_at_nothing(
    reachable: Path, services_folder: Path
) -> None:
    home = reachable / "home"
    home.mkdir(mode=0o755)  # made by hand, and open: each file must be closed by itself
    home.chmod(0o755)
    mine, open_to_all = reachable / "mine", reachable / "open"
    for path, mode in ((mine, 0o600), (open_to_all, 0o644)):
        path.write_text("x")
        path.chmod(mode)
    # What shows that the intruder looks at all.
    assert intrude(mine, open_to_all) == [f"read {open_to_all}"]
    process = Process(home, services_folder)
    try:
        process.wait()
        account = {"email": "ada@example.org", "password": "correct horse battery"}
        process.public.post("/api/v1/registrations", json=account).raise_for_status()
        files = [path for path in home.rglob("*") if not path.is_dir()]
        found = intrude(*files)
    finally:
        process.end()

    assert {"dormouse.db", "control-plane.sock", "internal.sock"} <= {path.name for path in files}
    assert len([path for path in files if path.parent.name == "keys"]) >= 3
    assert found == []


def test_t114_files_of_state_are_their_owners_alone(start_control_plane: Any) -> None:
    home = start_control_plane().wait().home
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in [home, *home.rglob("*")]
        if not path.is_symlink()
    }

    assert len(modes) > 8
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_t114_the_gateway_listens_on_this_machine_alone_unless_told(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104
def test_t114_a_public_address_without_tls_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValidationError, match=r"allow_plain_http"):
        Settings(home=tmp_path, host=host)
    with pytest.raises(ValidationError, match=r"public_url"):
        Settings(home=tmp_path, host=host, public_url="http://models.example.org")

    assert Settings(home=tmp_path, host=host, public_url="https://models.example.org")
    assert Settings(home=tmp_path, host=host, allow_plain_http=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_t114_an_address_of_this_machine_needs_no_tls(tmp_path: Path, host: str) -> None:
    assert Settings(home=tmp_path, host=host).host == host


@pytest.mark.parametrize(
    "names",
    ["a.example/", "http://a.example", "a.example:80", "a b$", "*.*", "a*", "", "[x]", "é.example"],
)
def test_t34_allowed_hosts_are_names(tmp_path: Path, names: str) -> None:
    if names == "":
        assert Settings(home=tmp_path, allowed_hosts=names).allowed_hosts == ()
        return
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings(home=tmp_path, allowed_hosts=names)


def test_t114_there_is_no_account_that_nobody_made(platform: Any) -> None:
    with platform.database.reads() as reading:
        assert reading.query(User).count() == 0
