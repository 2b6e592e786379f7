"""Ways to what predictors need, below folders that only root may enter."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dormouse_predictors import confinement, ways

USER, GROUP = 60611, 60600
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what to give up")


@pytest.fixture
def closed() -> Iterator[Path]:
    """Like root's home, with `needed` and `secret` in it, both open in themselves."""
    with tempfile.TemporaryDirectory(prefix="dm-", dir="/tmp") as folder:
        home = Path(folder)
        for name in ("inner/needed", "inner/needed/sub", "secret"):
            (home / name).mkdir(parents=True)
            (home / name / "file").write_text(name)
        assert home.stat().st_mode & 0o777 == 0o700
        yield home


def reads(
    path: Path, *, before: Callable[[], object] = lambda: None, user: int | None = USER
) -> str:
    """What a child finds in the file, as that user and after it has done something as root."""
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before()
            confinement.confine(user, GROUP)
            os.write(tells, path.read_bytes())
        except (OSError, ways.Unreachable) as error:
            os.write(tells, f"{type(error).__name__} {error}".encode())
        finally:
            os._exit(0)
    os.close(tells)
    os.waitpid(child, 0)
    with open(told) as found:
        return found.read()


def test_only_what_is_needed_is_reachable(closed: Path) -> None:
    needed = closed / "inner" / "needed"
    assert reads(needed / "file").startswith("PermissionError")

    def opened() -> None:
        ways.open_ways([needed, needed / "sub"], GROUP)

    assert reads(needed / "file", before=opened) == "inner/needed"
    assert reads(needed / "sub" / "file", before=opened) == "inner/needed/sub"
    assert reads(closed / "secret" / "file", before=opened).startswith("FileNotFoundError")
    # Nothing has changed for anybody else.
    assert (closed / "secret" / "file").read_text() == "secret"
    assert str(closed) not in Path("/proc/self/mountinfo").read_text()


def test_nothing_of_it_is_seen_on_a_machine_that_shares_its_mounts(closed: Path) -> None:
    """As systemd sets machines up; done here in a namespace of the child's own."""

    def shared() -> None:
        ways._own_namespace()
        ways._mount("none", Path("/"), None, 16384 | 1 << 20)  # MS_REC | MS_SHARED
        zygote = os.fork()
        if zygote == 0:
            ways.open_ways([closed / "secret"], GROUP)
            os._exit(0)
        assert os.waitpid(zygote, 0)[1] == 0
        assert str(closed) not in Path("/proc/self/mountinfo").read_text()

    assert reads(closed / "secret" / "file", before=shared, user=None) == "secret"


def test_the_group_may_be_what_opens_a_folder(closed: Path) -> None:
    os.chown(closed, 0, GROUP)
    closed.chmod(0o710)
    before = Path("/proc/self/ns/mnt").readlink()

    def opened() -> None:
        ways.open_ways([closed / "secret"], GROUP)
        assert Path("/proc/self/ns/mnt").readlink() == before  # there was nothing to do

    assert reads(closed / "secret" / "file", before=opened) == "secret"


def test_a_needed_folder_that_is_itself_closed_is_named(closed: Path) -> None:
    (closed / "secret").chmod(0o700)
    (closed / "inner" / "needed" / "sub").chmod(0o700)
    (closed / "inner" / "needed" / "sub" / "deep").mkdir()
    needed = closed / "inner" / "needed"

    for wanted, named in (
        ([closed / "secret"], closed / "secret"),
        ([needed, needed / "sub" / "deep"], needed / "sub"),
        ([closed / "missing"], closed / "missing"),
    ):
        with pytest.raises(ways.Unreachable, match=f"^{named}"):
            ways.open_ways(wanted, GROUP)


def test_without_the_right_to_mount_it_is_said(closed: Path) -> None:
    def work() -> None:
        os.setresuid(USER, USER, USER)
        ways._own_namespace()

    assert "no mount namespace" in reads(closed / "secret" / "file", before=work)


def test_modules_are_imported_from_folders_that_there_are() -> None:
    found = ways.pythons()
    assert Path(os.__file__).is_relative_to(found[1]) or Path(os.__file__).is_relative_to(found[0])
    assert all(each.is_dir() for each in found)
