"""Weights that one service's user has downloaded are another's to read, and not to change."""

import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dormouse_control import predictor_users
from dormouse_control.settings import Settings
from dormouse_predictors import confinement
from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources.store import Opened, RemoteFile, Store

GROUP = predictor_users.FIRST
ADA, EVE = GROUP + 1, GROUP + 2
WEIGHTS = b"weights" * 100
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what to give up")


@pytest.fixture
def weights() -> Iterator[Path]:
    home = Path("/tmp") / f"dormouse-test-{os.getpid()}"  # noqa: S108  all may enter there
    settings = Settings(home=home)
    for folder in (home, settings.run_folder, settings.spool_folder):
        folder.mkdir(mode=0o700)
    predictor_users.arrange(settings, GROUP)
    yield settings.weights
    shutil.rmtree(home)


def as_user(user: int, work: Callable[[], object]) -> None:
    """Raises if it does."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            confinement.confine(user, GROUP)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def remote(name: str = "") -> RemoteFile:
    return RemoteFile(name, lambda *_: Opened(0, len(WEIGHTS), None, iter([WEIGHTS])))


def fetch(weights: Path) -> None:
    store = Store(weights)
    store.file("web:one", remote(), lambda _: None)
    store.snapshot("web:all", lambda: [remote("a"), remote("deep/b")], lambda _: None)


def found(weights: Path) -> list[Path]:
    return [path for path in weights.rglob("*") if weights / "locks" not in path.parents]


def test_what_one_has_others_read_and_do_not_change(weights: Path) -> None:
    as_user(ADA, lambda: fetch(weights))
    before = {path: path.lstat().st_ino for path in found(weights)}
    assert {path.relative_to(weights).parts[0] for path in before} >= {"blobs", "sources"}

    def attack() -> None:
        assert Store(weights).file("web:one", remote(), lambda _: None).read_bytes() == WEIGHTS
        bait = weights / "sources" / "bait"
        bait.write_bytes(b"other")
        for path in before:
            for attempt in (
                lambda: path.chmod(0o777),  # noqa: B023
                lambda: path.open("ab").close(),  # noqa: B023
                lambda: path.rename(path.with_name("moved")),  # noqa: B023
                lambda: os.replace(bait, path),  # noqa: B023
                lambda: path.unlink(),  # noqa: B023
            ):
                with pytest.raises(OSError, match=r"denied|not permitted|[Dd]irectory"):
                    attempt()

    as_user(EVE, attack)
    (weights / "sources" / "bait").unlink()
    assert {path: path.lstat().st_ino for path in found(weights)} == before


def test_nobody_goes_on_with_what_another_began(weights: Path) -> None:
    def begin() -> None:
        cut = RemoteFile("", lambda *_: Opened(0, 99, None, iter([b"other"])))
        with pytest.raises(WeightsError, match="5 of 99 bytes"):
            Store(weights, pause=0).file("web:one", cut, lambda _: None)

    def go_on(offset: int, tag: str | None) -> Opened:
        assert (offset, tag) == (0, None)
        return Opened(0, len(WEIGHTS), None, iter([WEIGHTS]))

    as_user(EVE, begin)
    assert len(list((weights / "partial").iterdir())) == 2
    as_user(ADA, lambda: Store(weights).file("web:one", RemoteFile("", go_on), lambda _: None))
    [blob] = (weights / "blobs").iterdir()
    assert (blob.read_bytes(), blob.stat().st_uid) == (WEIGHTS, ADA)


def test_the_same_file_from_two_places_is_kept_once(weights: Path) -> None:
    as_user(ADA, lambda: fetch(weights))
    as_user(EVE, lambda: Store(weights).file("web:other", remote(), lambda _: None))
    [blob] = (weights / "blobs").iterdir()
    assert blob.stat().st_uid == ADA
    assert list((weights / "partial").iterdir()) == []
