"""`client.admin.tiers`: kinds of users and their limits."""

from dormouse.administration import Tier
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Tiers:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> Page[Tier]:
        call = Call("GET", "/api/v1/tiers", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Tier, self._transport.send(call).data, turn=turn)

    def put(
        self,
        id: str,
        title: str,
        *,
        highest_priority: int = 0,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrent_calls: int | None = None,
        queued_calls: int | None = None,
        max_body_mb: int | None = None,
        most_keys: int = 100,
        monthly_budget: float | None = None,
    ) -> Tier:
        """Make a tier, or change all of it."""
        body = {
            "title": title,
            "highest_priority": highest_priority,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "concurrent_calls": concurrent_calls,
            "queued_calls": queued_calls,
            "max_body_mb": max_body_mb,
            "most_keys": most_keys,
            "monthly_budget": monthly_budget,
        }
        call = Call("PUT", f"/api/v1/tiers/{segment(id)}", body=body, repeatable=True)
        return build(Tier, self._transport.send(call).data)

    def delete(self, id: str) -> None:
        self._transport.send(Call("DELETE", f"/api/v1/tiers/{segment(id)}"))
