"""Temporary folders go, also those of processes that were killed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dormouse_predictors.scratch import scratch_folder

HOLD = """
from dormouse_predictors.scratch import scratch_folder
with scratch_folder("dm-test-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_it_is_gone_in_the_end(temporary: Path) -> None:
    with scratch_folder("dm-test-") as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    with scratch_folder("dm-test-"):
        assert left.exists()  # it lives, and young ones may
    age(left)
    with scratch_folder("dm-test-"):
        assert left.exists()  # it lives
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert left.exists()
    with scratch_folder("dm-test-") as folder:
        assert list(temporary.iterdir()) == [folder]


def test_what_is_not_such_a_folder_of_ours_is_left_alone(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (temporary / "dm-test-link").symlink_to(elsewhere)
    os.utime(temporary / "dm-test-link", (0, 0), follow_symlinks=False)
    (temporary / "dm-other-folder").mkdir()
    age(temporary / "dm-other-folder")
    with scratch_folder("dm-test-"):
        pass
    names = ["dm-other-folder", "dm-test-link", "elsewhere"]
    assert sorted(each.name for each in temporary.iterdir()) == names
    assert (elsewhere / "file").exists()
