"""What the machine has, from trees of files as Linux has them, and once from this machine."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

from dormouse.machine import SPARE_MB, main_memory, read, shares
from dormouse.memory import Space

GIB = 2**30
MEMINFO = "MemTotal: 67108864 kB\nMemFree: 1048576 kB\nMemAvailable: 33554432 kB\n"  # 64 and 32 GiB
V2_MOUNT = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
UNLIMITED = 9223372036854771712


def tree(root: Path, files: Mapping[str, object]) -> Path:
    for name, content in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def v2(path: str, top: str = "/") -> dict[str, object]:
    return {"proc/self/cgroup": f"0::{path}", "proc/self/mountinfo": V2_MOUNT.format(top=top)}


def v1(path: str, top: str = "/") -> dict[str, object]:
    groups = f"9:name=systemd:/x\n4:cpu,memory:{path}\n0::/"
    return {"proc/self/cgroup": groups, "proc/self/mountinfo": V1_MOUNTS.format(top=top)}


def gib(total: float, free: float) -> Space:
    return Space(total * 1024 - SPARE_MB, free * 1024 - SPARE_MB)


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert main_memory(tree(tmp_path, {})) == gib(64, 32)


def test_a_limit_of_version_2(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice/ours"
    files = {
        **v2("/user.slice/ours"),
        f"{group}/memory.max": 8 * GIB,
        f"{group}/memory.current": 3 * GIB,
        f"{group}/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB // 2}\n"
        f"slab_reclaimable {GIB // 4}\nfile 99999999999999",
    }
    assert main_memory(tree(tmp_path, files)) == gib(8, 5 + 1.75)


def test_the_limit_of_a_group_around_ours(tmp_path: Path) -> None:
    files = {
        **v2("/a/b/c"),
        "sys/fs/cgroup/a/b/c/memory.max": "max",
        "sys/fs/cgroup/a/b/c/memory.current": 1,
        "sys/fs/cgroup/a/memory.max": 4 * GIB,
        "sys/fs/cgroup/a/memory.current": 3 * GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(4, 1)


def test_the_tightest_total_and_the_tightest_rest_may_be_of_different_groups(
    tmp_path: Path,
) -> None:
    files = {
        **v2("/a/b"),
        "sys/fs/cgroup/a/b/memory.max": 4 * GIB,
        "sys/fs/cgroup/a/b/memory.current": 0,
        "sys/fs/cgroup/a/memory.max": 8 * GIB,
        "sys/fs/cgroup/a/memory.current": 6 * GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(4, 2)


def test_where_a_group_is_slowed_down_is_a_limit_too(tmp_path: Path) -> None:
    files = {
        **v2("/a"),
        "sys/fs/cgroup/a/memory.max": "max",
        "sys/fs/cgroup/a/memory.high": 2 * GIB,
        "sys/fs/cgroup/a/memory.current": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(2, 1)


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    files = {
        **v2("/"),
        "sys/fs/cgroup/memory.max": 2 * GIB,
        "sys/fs/cgroup/memory.current": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(2, 1)


def test_a_path_that_leads_out_of_what_is_mounted(tmp_path: Path) -> None:
    files = {
        **v2("/../../elsewhere"),
        "sys/fs/cgroup/memory.max": 2 * GIB,
        "sys/fs/cgroup/memory.current": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(2, 1)


def test_a_limit_of_version_1(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/ours"
    files = {
        **v1("/ours"),
        f"{group}/memory.limit_in_bytes": 8 * GIB,
        f"{group}/memory.usage_in_bytes": 3 * GIB,
        f"{group}/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\ntotal_active_file 0",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 60 * GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(8, 6)


def test_a_container_of_version_1_with_the_path_of_its_host(tmp_path: Path) -> None:
    files = {
        **v1("/docker/abc", top="/docker/abc"),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GIB,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(4, 3)


def test_a_group_below_that_of_a_container(tmp_path: Path) -> None:
    files = {
        **v1("/docker/abc/sub", top="/docker/abc"),
        "sys/fs/cgroup/memory/sub/memory.limit_in_bytes": 4 * GIB,
        "sys/fs/cgroup/memory/sub/memory.usage_in_bytes": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(4, 3)


def test_a_group_that_uses_more_than_it_may_has_nothing_left(tmp_path: Path) -> None:
    files = {
        **v2("/"),
        "sys/fs/cgroup/memory.max": GIB,
        "sys/fs/cgroup/memory.current": 2 * GIB,
    }
    assert main_memory(tree(tmp_path, files)) == Space(1024 - SPARE_MB, 0)


def test_the_machine_may_have_less_left_than_the_group(tmp_path: Path) -> None:
    files = {
        **v2("/"),
        "sys/fs/cgroup/memory.max": 60 * GIB,
        "sys/fs/cgroup/memory.current": GIB,
    }
    assert main_memory(tree(tmp_path, files)) == gib(60, 32)


def test_no_proc_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="meminfo"):
        main_memory(tmp_path)


def test_what_a_process_has_of_its_own(tmp_path: Path) -> None:
    """Of 4 MiB in no file it shares 3 with its zygote, which counts them as its own."""
    text = (
        "5-7 ---p 0 0 [rollup]\nRss: 99999 kB\nPss: 5120 kB\nPss_Anon: 2560 kB\n"
        "Pss_File: 2048 kB\nPss_Shmem: 512 kB\nPrivate_Clean: 1024 kB\nPrivate_Dirty: 1024 kB\n"
    )
    found = shares(12, tree(tmp_path, {"proc/12/smaps_rollup": text}))
    assert found is not None
    assert (found.whole_mb, found.private_mb) == (3.5, 1.5)


def test_an_old_kernel_does_not_tell_files_apart(tmp_path: Path) -> None:
    text = "Pss: 4096 kB\nPrivate_Clean: 2048 kB\nPrivate_Dirty: 1024 kB"
    found = shares(12, tree(tmp_path, {"proc/12/smaps_rollup": text}))
    assert found is not None
    assert (found.whole_mb, found.private_mb) == (3, 1)


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    assert shares(12, tree(tmp_path, {})) is None
    assert shares(13, tree(tmp_path, {"proc/13/smaps_rollup": ""})) is None


def test_this_machine() -> None:
    found = read()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert 0 < found.ram.free_mb <= found.ram.total_mb < pages
    assert found.gpus == ()
    ours = shares("self")
    assert ours is not None
    before = ours.private_mb
    ballast = bytearray(os.urandom(1 << 20) * 64)
    now = shares("self")
    assert now is not None
    assert 56 <= now.private_mb - before <= 80
    assert len(ballast) == 64 << 20


def test_what_is_shared_with_a_parent_is_not_counted() -> None:
    ballast = bytearray(os.urandom(1 << 20) * 64)
    done, go_on = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        child = os.fork()
    if not child:  # nothing but what is needed, and no way back into the tests
        os.read(done, 1)
        os._exit(len(ballast) & 1)
    try:
        found = shares(child)
    finally:
        os.write(go_on, b"x")
        os.waitpid(child, 0)
        os.close(done)
        os.close(go_on)
    assert found is not None
    assert found.private_mb < 16
