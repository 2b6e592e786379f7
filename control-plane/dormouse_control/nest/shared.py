"""What all services of a nest have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dormouse_control.nest.cold_starts import ColdStarts
from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.periods import Periods
from dormouse_control.nest.starts import Starts


@dataclass(frozen=True)
class Shared:
    """`models` are offered, by service and model. `read_ahead` hears of service and model that a
    call waits for; `leaving` of the address of a predictor from which on no call may be sent there
    unasked.
    """

    periods: Periods
    cold_starts: ColdStarts
    memory: MemoryHandler
    models: Mapping[tuple[str, str], ModelFacts]
    starts: Starts
    read_ahead: Callable[[str, str], None]
    leaving: Callable[[str], None]
