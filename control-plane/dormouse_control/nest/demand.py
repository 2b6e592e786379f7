"""What is wanted of a service's predictors: by its catalogue, its calls and its operators."""

from collections.abc import Iterable
from datetime import UTC, datetime

from dormouse import windows
from dormouse_control.nest import scaling
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.predictor import Predictor


class Demand:
    """`asked_for`: an operator wants one awake, and waits for no answer. `resting`: an operator's
    word goes before the fewest, until somebody calls.
    """

    def __init__(self, plan: Plan) -> None:
        self.replan(plan)
        self._crowded_since: float | None = None
        self.asked_for = False
        self.resting = False

    def replan(self, plan: Plan) -> None:
        self._plan = plan
        self._warm = tuple(windows.parse(text) for text in plan.keep_warm)

    def woke(self) -> None:
        """Another predictor is ready: whether it is enough has to be seen."""
        self._crowded_since = None
        self.asked_for = False

    def next_step(
        self, ready: Iterable[Predictor], *, starts: bool, waits: bool, now: float
    ) -> scaling.Decision:
        """`starts`: a predictor is on its way; `waits`: a call wants one."""
        seen = tuple(
            scaling.Ready(each.in_flight, each.slots, each.idle_seconds()) for each in ready
        )
        return scaling.plan(
            self._wanted(),
            scaling.Observed(
                ready=seen,
                starting=int(starts),
                needed=waits or self.asked_for,
                crowded_seconds=self._crowded(seen, now),
            ),
        )

    def least(self) -> int:
        """How many are awake whatever happens."""
        if self.resting:
            return 0
        warm = bool(self._warm) and windows.any_holds(self._warm, datetime.now(UTC))
        return max(self._plan.min_replicas, int(warm))

    def _wanted(self) -> scaling.Wanted:
        return scaling.Wanted(self.least(), self._plan.max_replicas, self._plan.idle_seconds)

    def _crowded(self, ready: tuple[scaling.Ready, ...], now: float) -> float:
        """For how many seconds there have been more calls than can be worked on."""
        if not scaling.is_crowded(ready):
            self._crowded_since = None
            return 0.0
        if self._crowded_since is None:
            self._crowded_since = now
        return now - self._crowded_since
