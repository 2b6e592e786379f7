"""What each predictor is held to: its user, its limits, the secrets that it needs.

The predictor's side, which does all of it to itself, is `predictors/…/confinement.py`.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # a configuration is JSON

from structlog import get_logger

from dormouse_control.nest import credentials
from dormouse_control.nest.cgroups import ALLOWANCE, Group, Groups, Limits

log = get_logger(__name__)

USERS = 500
_PIPE_BYTES = 60_000
"""Less than a pipe holds, so that writing never waits."""


@dataclass(frozen=True)
class Needs:
    """Of one service: what its predictors may use, and the schemes of its models' sources."""

    limits: Limits
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Confinement:
    """What is said of it in the nest's facts. `group`: of predictors, if they have users of their
    own; `required`: nothing runs without. `folders` must be reachable for them."""

    group: int | None = None
    required: bool = False
    folders: tuple[str, ...] = ()
    cgroup: str = "off"
    needs: Mapping[str, Needs] = field(default_factory=dict)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Confinement":
        needs = {
            name: Needs(Limits(**each["limits"]), tuple(each["sources"]))
            for name, each in found["needs"].items()
        }
        return cls(**{**found, "folders": tuple(found["folders"]), "needs": needs})


def user_of(service: str, group: int) -> int:
    """The same at every start, whatever other services there are. Two may share one, by chance."""
    return group + 1 + zlib.crc32(service.encode()) % USERS


@dataclass(frozen=True)
class Prepared:
    """For one fork. `told` is to be added to the configuration; `descriptors` go with it."""

    told: dict[str, int]
    descriptors: list[int]
    group: Group | None


class Confining:
    """Prepares forks. `known` may be replaced when the catalogue has changed."""

    def __init__(self, known: Confinement, groups: Groups, environment: Mapping[str, str]) -> None:
        self.known = known
        self._groups = groups
        self._environment = environment

    @contextmanager
    def prepare(self, config: Mapping[str, Any], *, own_user: bool) -> Iterator[Prepared]:
        """The descriptors are ours until the end of the block."""
        service = str(config["service"])
        told = self._user(service, Path(config["spool"])) if own_user else {}
        needs = self.known.needs.get(service)
        group = None
        if needs is not None:
            group = self._groups.make(service, str(config["instance"]), needs.limits)
        secrets = self._secrets(needs)
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield Prepared(told, [nothing if group is None else group.entrance, secrets], group)
        except BaseException:
            if group is not None:
                self._groups.leave(group)
            raise
        finally:
            os.close(nothing)
            os.close(secrets)
            if group is not None:
                group.entered()

    def memory_limit(self, service: str) -> int | None:
        """Bytes that a predictor of the service is held to; None if it is not."""
        needs = self.known.needs.get(service)
        if needs is None or not self._groups.limit_memory:
            return None
        return needs.limits.memory + ALLOWANCE

    def ended(self, group: Group | None) -> None:
        """The predictor of that group ends."""
        if group is not None:
            self._groups.leave(group)

    def _user(self, service: str, spool: Path) -> dict[str, int]:
        """Its spool is made here: it may not make anything beside it."""
        assert self.known.group is not None
        user = user_of(service, self.known.group)
        spool.mkdir(mode=0o700, exist_ok=True)
        if spool.stat().st_uid != user:
            for path in (spool, *spool.iterdir()):
                os.chown(path, user, self.known.group, follow_symlinks=False)
        return {"user": user, "group": self.known.group}

    def _secrets(self, needs: Needs | None) -> int:
        """A descriptor to read them from, as JSON: what is written to the zygote's socket goes
        through the zygote's memory, which all its children share."""
        # Of a service that we have not been told of, it is not known what it needs.
        schemes = ("unknown",) if needs is None else needs.sources
        text = json.dumps(credentials.for_sources(schemes, self._environment)).encode()
        if len(text) > _PIPE_BYTES:
            log.error("credentials_too_long", bytes=len(text))
            text = b"{}"
        read, write = os.pipe()
        try:
            os.write(write, text)
        finally:
            os.close(write)
        return read
