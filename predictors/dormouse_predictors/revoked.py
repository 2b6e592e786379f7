"""Who lost the right to call: refuses their tokens of before, and ends their calls.

Tokens and revocations are put in order by the revocations' own numbers, not by clocks: a token says
up to which number its signer knew. Event loop only.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any  # revocations are JSON

from dormouse.tokens import InternalClaims
from dormouse_predictors.calls import Call
from dormouse_predictors.errors import access_revoked

KEPT_SECONDS = 120
"""Twice the longest life of an internal token."""


class Revoked:
    def __init__(self, service: str) -> None:
        self._service = service
        self._latest: dict[str, tuple[int, float]] = {}
        self._calls: set[Call] = set()

    def watched(self, claims: InternalClaims) -> "Watched":
        """A call, as long as it is entered: `call.end` is called when the caller is revoked.

        At most once, because whoever is ended is no longer watched. Raises `CallError` for who was
        revoked already.
        """
        if self._hits(claims):
            raise access_revoked()
        return Watched(self._calls, Call(claims))

    def learn(self, items: Sequence[Mapping[str, Any]]) -> int:
        """Each item is one of the control plane's; how many calls it ended."""
        now = time.monotonic()
        for item in items:
            if item["cuts"] and item["service"] in (None, self._service):
                known, _ = self._latest.get(item["id"], (0, now))
                self._latest[item["id"]] = (max(known, item["seq"]), now)
        self._prune(now)
        doomed = [call for call in self._calls if self._hits(call.claims)]
        for call in doomed:
            self._calls.discard(call)
            call.finish(access_revoked())
        return len(doomed)

    def forget(self) -> None:
        """The numbers have begun anew."""
        self._latest.clear()

    def _hits(self, claims: InternalClaims) -> bool:
        if not self._latest:
            return False
        seen = -1 if claims.revocation is None else claims.revocation
        return any(
            subject in self._latest and seen < self._latest[subject][0]
            for subject in (claims.user, claims.credential)
        )

    def _prune(self, now: float) -> None:
        old = [name for name, (_, at) in self._latest.items() if now - at > KEPT_SECONDS]
        for name in old:
            del self._latest[name]


class Watched:
    def __init__(self, calls: set[Call], call: Call) -> None:
        self._calls = calls
        self._call = call

    def __enter__(self) -> Call:
        self._calls.add(self._call)
        return self._call

    def __exit__(self, *_: object) -> None:
        self._calls.discard(self._call)
