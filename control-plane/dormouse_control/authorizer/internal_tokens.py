"""Internal tokens, signed once per (credential, model) and used for half their life.

Each says up to which revocation its caller was known to be in the right; predictors refuse it if a
later one names the caller. So whoever is named needs a new one, although they may call again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any  # revocations are JSON

from dormouse.tokens import INTERNAL_MAX_SECONDS, InternalClaims, SigningKey, sign_internal
from dormouse_control.authorizer.principals import Principal

KEPT = 50_000


class InternalTokens:
    """`address` is where predictors send their meters."""

    def __init__(self, signer: Callable[[], SigningKey], address: str | None = None) -> None:
        self._signer = signer
        self._address = address
        self.position = -1
        """The number of the last revocation that was heard of; -1: none yet."""
        self._signed: OrderedDict[tuple[str | int | None, ...], tuple[float, str]] = OrderedDict()

    def token(
        self,
        principal: Principal,
        *,
        service: str,
        model: str,
        alias: str | None,
        priority: int,
        cold_start_ms: int | None,
        position: int,
        until: int | None,
        account: int,
        lease: str | None,
        max_body: int | None,
    ) -> str:
        """`position` was ours when the principal was looked up."""
        now = time.time()
        identity = (
            principal.user,
            principal.credential,
            service,
            model,
            alias,
            priority,
            until,
            account,
            lease,
            max_body,
            principal.max_queued,
            principal.highest_priority,
        )
        if cold_start_ms is None:
            known = self._signed.get(identity)
            if known is not None and known[0] > now:
                return known[1]
        signed = sign_internal(
            InternalClaims(
                user=principal.user,
                credential=principal.credential,
                service=service,
                model=model,
                alias=alias,
                priority=priority,
                expires_at=int(now) + INTERNAL_MAX_SECONDS,
                cold_start_ms=cold_start_ms,
                revocation=position,
                until=until,
                authorizer=self._address,
                account=account,
                lease=lease,
                max_queued=principal.max_queued,
                max_body=max_body,
                most_urgent=principal.highest_priority,
            ),
            key=self._signer(),
            now=now,
        )
        if cold_start_ms is None and position == self.position:
            self._signed[identity] = (now + INTERNAL_MAX_SECONDS / 2, signed)
            self._signed.move_to_end(identity)
            if len(self._signed) > KEPT:
                self._signed.popitem(last=False)
        return signed

    def revoke(self, items: list[dict[str, Any]]) -> None:
        """Forget the tokens of whoever is named."""
        named = {item["id"] for item in items}
        for identity in [known for known in self._signed if named & set(known[:2])]:
            del self._signed[identity]

    def forget_all(self) -> None:
        self._signed.clear()
