"""What goes with a fork: user, group, secrets; and what becomes of it when the fork fails."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dormouse_control.nest.cgroups import ALLOWANCE, Group, Groups, Limits
from dormouse_control.nest.confinement import Confinement, Confining, Needs

GROUP, USER = 60600, 60691
LIMITS = Limits(memory=1 << 30, cpus=1.0, threads=300)
SECRETS = {"HF_TOKEN": "hub", "AWS_SECRET_ACCESS_KEY": "cloud"}


class KeptGroups(Groups):
    """Groups that are plain folders; remembers those that were left."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left: list[Group] = []

    def make(self, service: str, instance: str, limits: Limits) -> Group | None:
        assert self._root is not None
        folder = self._root / f"{service}-{instance}"
        folder.mkdir()
        entrance = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CREAT)
        return Group(service, folder, limits, entrance)

    def leave(self, group: Group, tries: int = 0) -> None:  # noqa: ARG002  tried once
        self.left.append(group)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {"service": "chat", "instance": "1f", "spool": str(tmp_path / "chat")}


def confining(groups: Groups, *sources: str) -> Confining:
    needs = {"chat": Needs(LIMITS, sources, USER)} if sources else {}
    return Confining(Confinement(group=GROUP, needs=needs), groups, SECRETS)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("sources", "told"),
    [(("builtin",), {}), (("hf",), {"HF_TOKEN": "hub"}), ((), SECRETS)],
    ids=["none", "hub", "a service that we were not told of"],
)
def test_secrets_come_through_a_pipe_that_ends(
    config: dict[str, Any], sources: tuple[str, ...], told: dict[str, str]
) -> None:
    before = descriptors()
    with confining(Groups(None), *sources).prepare(config, own_user=False) as prepared:
        entrance, secrets = prepared.descriptors
        assert json.loads(os.read(secrets, 1 << 16)) == told
        assert os.read(secrets, 1) == b""
        assert os.write(entrance, b"0") == 1  # leads nowhere
    assert (prepared.told, prepared.group) == ({}, None)
    assert descriptors() == before


def test_a_group_is_entered_by_the_predictor_and_left_when_it_ends(
    config: dict[str, Any], tmp_path: Path
) -> None:
    groups, before = KeptGroups(tmp_path), descriptors()
    made = confining(groups, "builtin")
    with made.prepare(config, own_user=False) as prepared:
        os.write(prepared.descriptors[0], b"0")
    assert (tmp_path / "chat-1f" / "cgroup.procs").read_text() == "0"
    assert (descriptors(), groups.left) == (before, [])
    made.ended(prepared.group)
    assert [each.folder.name for each in groups.left] == ["chat-1f"]


def test_a_fork_that_fails_leaves_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    groups, before = KeptGroups(tmp_path), descriptors()

    def fails() -> None:
        with confining(groups, "builtin").prepare(config, own_user=False):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fails()
    assert ([each.folder.name for each in groups.left], descriptors()) == (["chat-1f"], before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_spool_is_its_users_with_all_that_is_in_it(config: dict[str, Any]) -> None:
    spool = Path(config["spool"])
    spool.mkdir()
    (spool / "left.jsonl").write_text("{}\n")
    (spool / "bait.jsonl").symlink_to("/etc/hostname")
    owner = os.stat("/etc/hostname").st_uid
    with confining(Groups(None), "builtin").prepare(config, own_user=True) as prepared:
        assert prepared.told == {"user": USER, "group": GROUP}
    assert {path.lstat().st_uid for path in (spool, *spool.iterdir())} == {USER}
    assert os.stat("/etc/hostname").st_uid == owner


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_spool_that_was_given_away_in_part_is_given_away_whole(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Path(config["spool"])
    spool.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (spool / name).touch()
    give, given = os.chown, list[Path]()

    def give_one(path: Path, *rest: int, **options: bool) -> None:
        if given:
            raise InterruptedError  # killed
        given.append(path)
        give(path, *rest, **options)

    made = confining(Groups(None), "builtin")
    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", give_one)
        with pytest.raises(InterruptedError), made.prepare(config, own_user=True):
            pass
    with made.prepare(config, own_user=True):
        pass
    assert {path.lstat().st_uid for path in (spool, *spool.iterdir())} == {USER}


def test_who_has_no_user_gets_nothing(config: dict[str, Any]) -> None:
    before = descriptors()
    with (
        pytest.raises(PermissionError, match="no user for chat"),
        confining(Groups(None)).prepare(config, own_user=True),
    ):
        pass
    assert (descriptors(), Path(config["spool"]).exists()) == (before, False)


@pytest.mark.parametrize("fails", ["open", "pipe", "write"])
def test_where_there_are_no_descriptors_nothing_is_left(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    groups, before = KeptGroups(tmp_path), descriptors()

    def fail(*_: object) -> int:
        raise OSError("too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, fail)
        with (
            pytest.raises(OSError, match="too many"),
            confining(groups, "builtin").prepare(config, own_user=False),
        ):
            pass
    assert (descriptors(), list(tmp_path.iterdir())) == (before, [])


def test_facts_of_it_survive_being_handed_on() -> None:
    from dataclasses import asdict

    given = Confinement(GROUP, True, ("/a",), "auto", {"chat": Needs(LIMITS, ("hf",), 7)})
    assert Confinement.from_json(json.loads(json.dumps(asdict(given)))) == given


def test_the_limit_of_a_service_is_known_where_there_is_one() -> None:
    assert confining(Groups(None, limit_memory=True), "hf").memory_limit("chat") == (
        LIMITS.memory + ALLOWANCE
    )
    assert confining(Groups(None, limit_memory=True), "hf").memory_limit("other") is None
    assert confining(Groups(None), "hf").memory_limit("chat") is None
