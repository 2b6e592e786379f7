"""A real zygote and its predictors, as the nest holds them: control groups, users, secrets."""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dormouse.catalog import read_catalog
from dormouse_control import predictor_users
from dormouse_control.nest import lines
from dormouse_control.nest.cgroups import Groups, Limits
from dormouse_control.nest.confinement import Confinement, Confining, Needs
from dormouse_control.nest.plans import plans
from dormouse_control.nest.zygote import Zygote, ZygoteFailed
from dormouse_control.settings import Settings

USER = predictor_users.FIRST + 7
NEEDS = {"chat": Needs(Limits(memory=1 << 30, cpus=1.0, threads=300), ("hf",), USER)}
SECRETS = {"HF_TOKEN": "hub-5bd0c1a7e2f9", "AWS_SECRET_ACCESS_KEY": "cloud-91f3e07b6a4d"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what to give up")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    for folder in (settings.home, settings.run_folder, settings.spool_folder):
        folder.mkdir(mode=0o700)
    return settings


@pytest.fixture
def config(settings: Settings) -> dict[str, Any]:
    [plan] = [p for p in plans(settings, read_catalog(settings.services)) if p.service == "chat"]
    found = {"model": plan.first_model, "instance": uuid.uuid4().hex, "gpu_layers": 0}
    return {**plan.config, **found}


@pytest.fixture
def hierarchy() -> Iterator[Path]:
    """A group of ours in the kernel's tree, with whatever controllers there are."""
    for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (mount / "cgroup.controllers").exists() and os.access(mount, os.W_OK):
            break
    else:
        pytest.skip("no cgroup v2 that we may write to")
    root = mount / f"dormouse-test-{uuid.uuid4().hex}"
    try:
        root.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v2 that we may write to: {error}")
    yield root
    root.rmdir()


@contextlib.asynccontextmanager
async def zygote(known: Confinement, groups: Groups) -> AsyncIterator[Zygote]:
    found = Zygote("llama", Confining(known, groups, SECRETS))
    try:
        yield found
    finally:
        found.close()
        async with asyncio.timeout(10):
            while found.pid is not None:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def awake(zygote: Zygote, config: dict[str, Any]) -> AsyncIterator[int]:
    """The pid of a predictor that is ready; killed in the end."""
    reader, writer = await asyncio.open_unix_connection(sock=await zygote.fork(config))
    async with asyncio.timeout(60):
        while (message := await lines.read(reader)) is not None:
            assert message["event"] != "failed", message
            if message["event"] == "ready":
                break
    assert message is not None
    try:
        yield int(message["pid"])
    finally:
        os.kill(int(message["pid"]), signal.SIGKILL)
        async with asyncio.timeout(10):
            while await lines.read(reader) is not None:
                pass
        writer.close()


async def _until_gone(folder: Path) -> None:
    async with asyncio.timeout(10):
        while folder.exists():
            await asyncio.sleep(0.01)


def test_a_predictor_runs_in_its_group_and_the_group_goes_with_it(
    config: dict[str, Any], hierarchy: Path
) -> None:
    async def run() -> None:
        async with zygote(Confinement(needs=NEEDS), Groups(hierarchy)) as parent:
            async with awake(parent, config) as pid:
                [group] = [each for each in hierarchy.iterdir() if each.is_dir()]
                assert group.name == f"predictor-chat-{config['instance']}"
                assert (group / "cgroup.procs").read_text().split() == [str(pid)]
                assert parent.pid is not None
            await _until_gone(group)

    asyncio.run(run())


@as_root
def test_a_predictor_has_its_services_user_whatever_is_closed_above_it(
    settings: Settings, config: dict[str, Any]
) -> None:
    predictor_users.arrange(settings, predictor_users.FIRST)
    folders = (str(settings.home), str(settings.services), str(settings.weights))
    known = Confinement(predictor_users.FIRST, True, folders, "off", NEEDS)

    async def run() -> None:
        async with (
            zygote(known, Groups(None)) as parent,
            awake(parent, config) as pid,
        ):
            status = Path(f"/proc/{pid}/status").read_text()
            assert status.split("Uid:")[1].split()[:4] == [str(USER)] * 4
            [spool] = (settings.spool_folder / "chat").iterdir()
            assert spool.stat().st_uid == USER

    asyncio.run(run())


@as_root
@pytest.mark.parametrize("required", [False, True])
def test_where_predictors_cannot_have_users_it_is_said_or_nothing_runs(
    config: dict[str, Any], tmp_path: Path, required: bool
) -> None:
    closed = tmp_path / "services"
    closed.mkdir(mode=0o700)
    known = Confinement(predictor_users.FIRST, required, (str(closed),), "off", NEEDS)

    async def run() -> None:
        async with zygote(known, Groups(None)) as parent:
            if required:
                with pytest.raises(ZygoteFailed, match="entered by its owner alone"):
                    await parent.start()
                return
            with capture_logs() as logs:
                async with awake(parent, config) as pid:
                    assert "Uid:\t0\t0\t0\t0" in Path(f"/proc/{pid}/status").read_text()
            assert [each["event"] for each in logs][:1] == ["predictors_run_as_root"]

    asyncio.run(run())


def test_secrets_are_in_no_zygote_and_only_in_the_predictors_that_need_them(
    config: dict[str, Any],
) -> None:
    """Looked for in all the memory that they can write to."""

    async def run() -> tuple[set[str], set[str]]:
        async with (
            zygote(Confinement(needs=NEEDS), Groups(None)) as parent,
            awake(parent, config) as pid,
        ):
            assert parent.pid is not None
            return _strings(parent.pid), _strings(pid)

    in_zygote, in_predictor = asyncio.run(run())
    assert (in_zygote, in_predictor) == (set(), {SECRETS["HF_TOKEN"]})


def _strings(pid: int) -> set[str]:
    wanted = [each.encode() for each in SECRETS.values()]
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, rights, *_ = line.split()
            first, last = (int(each, 16) for each in addresses.split("-"))
            if rights.startswith("rw"):
                with contextlib.suppress(OSError):
                    memory.seek(first)
                    content = memory.read(last - first)
                    found |= {each.decode() for each in wanted if each in content}
    return found


def test_r19_a_zygote_that_hangs_can_be_replaced_at_once(config: dict[str, Any]) -> None:
    async def scene() -> None:
        async with zygote(Confinement(), Groups(None)) as found:
            await found.start()
            first = found.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            unheard = await found.fork(config)
            found.kill()
            async with awake(found, {**config, "instance": uuid.uuid4().hex}):
                assert found.pid != first
            assert unheard.recv(1) == b""  # nobody forks it any more
            unheard.close()

    asyncio.run(scene())
