"""The services of a nest, which come and go with the catalogue (MOD-03, MOD-07)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from structlog import get_logger

from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.service import ServiceRunner

log = get_logger(__name__)

Models = dict[tuple[str, str], ModelFacts]

GOODBYE_SECONDS = 600.0
"""So long calls may still run on a service that is offered no more."""


class Services(Mapping[str, ServiceRunner]):
    """`make` makes the runner of a plan; `models` is who all others look at."""

    def __init__(self, make: Callable[[Plan], ServiceRunner], models: Models) -> None:
        self._make = make
        self._models = models
        self._runners: dict[str, ServiceRunner] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def __getitem__(self, service: str) -> ServiceRunner:
        return self._runners[service]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._runners))

    def __len__(self) -> int:
        return len(self._runners)

    def adopt(self, plans: tuple[Plan, ...], models: tuple[ModelFacts, ...]) -> None:
        """These are offered from now on, and no others. Event loop only."""
        self._models.clear()
        self._models.update({(each.service, each.model): each for each in models})
        wanted = {plan.service: plan for plan in plans}
        for service in set(self._runners) - set(wanted):
            self._dismiss(self._runners.pop(service))
        for service, plan in wanted.items():
            runner = self._runners.get(service)
            if runner is None:
                self._runners[service] = self._make(plan)
            else:
                runner.replan(plan)
        log.info("offered", services=sorted(wanted), models=len(models))

    def _dismiss(self, runner: ServiceRunner) -> None:
        task = asyncio.create_task(runner.close(GOODBYE_SECONDS))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self, seconds: float) -> None:
        """Let running calls end, and then all predictors."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*(runner.close(seconds) for runner in self._runners.values()))
