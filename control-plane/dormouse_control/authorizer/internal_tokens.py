"""Internal tokens, signed once per (credential, model) and used for half their life."""

import time
from collections import OrderedDict

from dormouse.tokens import INTERNAL_MAX_SECONDS, InternalClaims, SigningKey, sign_internal
from dormouse_control.authorizer.principals import Principal

KEPT = 50_000


class InternalTokens:
    def __init__(self, key: SigningKey) -> None:
        self._key = key
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
    ) -> str:
        now = time.time()
        identity = (principal.user, principal.credential, service, model, alias, priority)
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
            ),
            key=self._key,
            now=now,
        )
        if cold_start_ms is None:
            self._signed[identity] = (now + INTERNAL_MAX_SECONDS / 2, signed)
            self._signed.move_to_end(identity)
            if len(self._signed) > KEPT:
                self._signed.popitem(last=False)
        return signed
