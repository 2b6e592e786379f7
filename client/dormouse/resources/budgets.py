"""`client.budgets`: how much money your calls may cost; `client.admin.budgets`: everybody's."""

from collections.abc import Sequence

from dormouse.accounts import Budget, BudgetPage
from dormouse.answers import build
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Budgets:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> BudgetPage:
        """All that your calls count on: your budgets, your groups' and your newest 200 keys'."""
        return build(BudgetPage, self._transport.send(Call("GET", "/api/v1/me/budgets")).data)


class AllBudgets:
    """`subject` is the id of a user, key or group; `period` is "day", "month" or "total"."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> BudgetPage:
        """Those that administrators set, oldest first."""
        call = Call("GET", "/api/v1/budgets", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build(BudgetPage, self._transport.send(call).data, turn=turn)

    def of(self, subject: str) -> BudgetPage:
        """Those of one user, key or group, with what the tier or the key itself says."""
        call = Call("GET", f"/api/v1/budgets/{segment(subject)}")
        return build(BudgetPage, self._transport.send(call).data)

    def set(
        self,
        subject: str,
        period: str,
        limit: float,
        *,
        thresholds: Sequence[tuple[int, str]] | None = None,
    ) -> Budget:
        """Set a budget, or change all of it. `thresholds` are (percent, action), where an action is
        "notify", "lower_priority", "refuse_gpu" or "refuse"; None: (80, "notify"), (100, "refuse").
        """
        body: dict[str, object] = {"limit": limit}
        if thresholds is not None:
            body["thresholds"] = [
                {"at_percent": percent, "action": action} for percent, action in thresholds
            ]
        call = Call("PUT", _path(subject, period), body=body, repeatable=True)
        return build(Budget, self._transport.send(call).data)

    def remove(self, subject: str, period: str) -> None:
        self._transport.send(Call("DELETE", _path(subject, period)))


def _path(subject: str, period: str) -> str:
    return f"/api/v1/budgets/{segment(subject)}/{segment(period)}"
