"""An authorizer as the control plane sees it: a name, and batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient


@dataclass
class Holder:
    internal: TestClient
    name: str

    def send(self, **batch: Any) -> dict[str, Any]:
        answer = self.internal.post("/internal/v1/leases", json={"holder": self.name, **batch})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def rate(
        self,
        wanted: float = 0,
        *,
        held: float = 0,
        returned: float = 0,
        capacity: float = 60,
        subject: str = "user_a",
        kind: str = "requests",
    ) -> dict[str, Any]:
        ask = {
            "subject": subject,
            "kind": kind,
            "capacity": capacity,
            "held": held,
            "wanted": wanted,
            "returned": returned,
        }
        (got,) = self.send(rates=[ask])["rates"]
        return dict(got)

    def slots(
        self, wanted: int, *, used: int = 0, limit: int = 10, subject: str = "user_a"
    ) -> dict[str, Any]:
        ask = {"subject": subject, "limit": limit, "used": used, "wanted": wanted}
        (got,) = self.send(slots=[ask])["slots"]
        return dict(got)

    def money(
        self,
        wanted: int = 0,
        *,
        user: str,
        credential: str,
        seq: int,
        lease: str | None = None,
        returned: int = 0,
    ) -> dict[str, Any]:
        ask = {
            "credential": credential,
            "user": user,
            "lease": lease,
            "seq": seq,
            "wanted": wanted,
            "returned": returned,
        }
        (got,) = self.send(money=[ask])["money"]
        return dict(got)


@pytest.fixture
def holder(installation: Any) -> Callable[[int], Holder]:
    return lambda number: Holder(installation.internal, f"{number:016x}")
