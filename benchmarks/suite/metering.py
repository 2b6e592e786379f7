"""The mock's meters: what it tells the authorizer that admitted a call, as predictors do."""

import asyncio
import base64
import json
import os
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dormouse.meters import Meters, encode

EVERY = 0.05
PROMPT_TOKENS, COMPLETION_TOKENS, COST_NANO = 5, 3, 100


@dataclass
class _Account:
    number: int
    began: int = 0
    ended: int = 0

    def meters(self) -> Meters:
        return Meters(
            account=self.number,
            began=self.began,
            ended=self.ended,
            prompt_tokens=self.ended * PROMPT_TOKENS,
            completion_tokens=self.ended * COMPLETION_TOKENS,
            cost_nano=self.ended * COST_NANO,
        )


class Metering:
    """Tokens are read, not verified: that is the predictor's work and not the gateway's."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._predictor = os.urandom(16)
        self._accounts: dict[tuple[str, int], _Account] = {}
        self._unsent: dict[str, set[int]] = {}
        self.began: Counter[bytes | None] = Counter()
        self.ended: Counter[bytes | None] = Counter()

    async def run(self) -> None:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        while True:
            await asyncio.sleep(EVERY)
            self._sum_up()
            for authorizer, numbers in list(self._unsent.items()):
                found = [self._accounts[authorizer, number].meters() for number in numbers]
                path = self._run / authorizer.removeprefix("unix:")
                try:
                    sender.sendto(encode(self._predictor, found), str(path))
                except OSError:
                    continue  # it is gone, or has no room for now
                del self._unsent[authorizer]

    def _sum_up(self) -> None:
        for token, calls in self.began.items():
            if account := self._account(token):
                account.began += calls
        for token, calls in self.ended.items():
            if account := self._account(token):
                account.ended += calls
        self.began.clear()
        self.ended.clear()

    def _account(self, token: bytes | None) -> _Account | None:
        parts = token.split(b".") if token is not None else []
        if len(parts) != 3:
            return None
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=="))
        if "aut" not in claims or "acc" not in claims:
            return None
        authorizer, number = claims["aut"], claims["acc"]
        self._unsent.setdefault(authorizer, set()).add(number)
        return self._accounts.setdefault((authorizer, number), _Account(number))
