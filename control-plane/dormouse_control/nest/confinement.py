"""What each predictor is held to: its user, its limits, the secrets that it needs.

The predictor's side, which does all of it to itself, is `predictors/…/confinement.py`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # a configuration is JSON

from structlog import get_logger

from dormouse_control.nest import credentials
from dormouse_control.nest.cgroups import ALLOWANCE, Group, Groups, Limits

log = get_logger(__name__)

_PIPE_BYTES = 60_000
"""Less than a pipe holds, so that writing never waits."""


@dataclass(frozen=True)
class Needs:
    """Of one service: what its predictors may use, the schemes of its models' sources, and which
    user they are, if they have one of their own."""

    limits: Limits
    sources: tuple[str, ...]
    user: int | None = None


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
            name: Needs(Limits(**each["limits"]), tuple(each["sources"]), each["user"])
            for name, each in found["needs"].items()
        }
        return cls(**{**found, "folders": tuple(found["folders"]), "needs": needs})


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
        """The descriptors are ours until the end of the block. Raises OSError."""
        service = str(config["service"])
        needs = self.known.needs.get(service)
        told = self._user(needs, Path(config["spool"])) if own_user else {}
        with ExitStack() as ours:
            secrets = self._secrets(needs)
            ours.callback(os.close, secrets)
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            ours.callback(os.close, nothing)
            group = None
            if needs is not None:  # last, because it is the predictor that ends it
                group = self._groups.make(service, str(config["instance"]), needs.limits)
            try:
                yield Prepared(told, [nothing if group is None else group.entrance, secrets], group)
            except BaseException:
                if group is not None:
                    self._groups.leave(group)
                raise
            finally:
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

    def _user(self, needs: Needs | None, spool: Path) -> dict[str, int]:
        """Its spool is made here: it may not make anything beside it."""
        if needs is None or needs.user is None or self.known.group is None:
            raise PermissionError(f"there is no user for {spool.name}")
        spool.mkdir(mode=0o700, exist_ok=True)
        if spool.stat().st_uid != needs.user:
            for path in (*spool.iterdir(), spool):  # that it is last says that it was done
                os.chown(path, needs.user, self.known.group, follow_symlinks=False)
        return {"user": needs.user, "group": self.known.group}

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
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        return read
