import resource
from pathlib import Path

import pytest

from dormouse_control.restores.journal import KEPT_SECONDS, Journal, Loss, Marks


def _loss(writes: int, time: float = 0.0, user: str = "usr_1") -> Loss:
    return Loss(writes, time, user, "active", "user", None, ["chat"], key="key_1")


def test_marks_outlive_the_process_and_never_go_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.marks() == Marks(0, 0)
    journal.advance(5, 2)
    journal.advance(4, 0)

    assert journal.marks() == Journal(tmp_path).marks() == Marks(5, 2)
    assert (tmp_path / "epoch").stat().st_mode & 0o777 == 0o600


def test_losses_come_in_the_order_of_the_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.losses(after=0) == []
    journal.append([_loss(3)])
    journal.append([_loss(2, user="usr_2"), _loss(1)])

    assert [loss.writes for loss in Journal(tmp_path).losses(after=1)] == [2, 3]
    assert Journal(tmp_path).losses(after=2) == [_loss(3)]
    assert (tmp_path / "revoked.journal").stat().st_mode & 0o777 == 0o600


def test_half_a_line_hides_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([_loss(1)])
    with (tmp_path / "revoked.journal").open("a") as file:
        file.write('{"writes": 2, "ti')
    assert journal.losses(after=0) == [_loss(1)]

    journal.append([_loss(3)])

    assert journal.losses(after=0) == [_loss(1), _loss(3)]


def test_half_a_line_on_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Not a loss that everybody takes for noted."""
    journal = Journal(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.append([_loss(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_older_than_any_backup_is_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([_loss(1, time=0), _loss(2, time=10)])

    journal.prune(now=KEPT_SECONDS + 5)

    assert journal.losses(after=0) == [_loss(2, time=10)]
