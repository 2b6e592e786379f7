"""What a call costs, and the most that a call may cost: one rule for all who count money.

Pure, in whole billionths ("nano") of the platform's currency, so that predictor, authorizer and
ledger come to the same unit.
"""

from decimal import Decimal
from typing import Protocol, assert_never

from dormouse.catalog.schemas import Endpoint, ModelSpec, Prices, ServiceSpec

NANO = 1_000_000_000

MOST_ANSWERS = 8
"""`n` of a call that generates text."""

MOST_COMPLETIONS = 128
"""Answers to all prompts of one call of `completions` together."""

LATE_MS = 5000
"""How much later than its time limit a call ends: at its next token, or batch."""


class Usage(Protocol):
    """What is charged for, of one call: a `UsageEvent`, or a row made of one.

    A call whose `load_ms` is not 0 made the predictor load a model.
    """

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def compute_ms(self) -> int: ...
    @property
    def gpus(self) -> int: ...
    @property
    def audio_ms(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def load_ms(self) -> int: ...


def cost_nano(prices: Prices, usage: Usage) -> int:
    """Rounded half up, once. GPU seconds are those of computing, not of waiting or loading."""
    thousandths = (
        usage.prompt_tokens * _nano(prices.per_1000_prompt_tokens)
        + usage.completion_tokens * _nano(prices.per_1000_completion_tokens)
        + usage.audio_ms * _nano(prices.per_audio_second)
        + usage.images * 1000 * _nano(prices.per_image)
        + usage.compute_ms * usage.gpus * _nano(prices.per_gpu_second)
        + (1000 * _nano(prices.per_load) if usage.load_ms else 0)
    )
    return _rounded(thousandths)


def most_nano(spec: ServiceSpec, model: ModelSpec, endpoint: Endpoint) -> tuple[int, int]:
    """(fixed, per byte of the body): no call costs more than fixed + bytes * per byte."""
    prices = spec.prices
    prompt = _nano(prices.per_1000_prompt_tokens)
    answer = _nano(prices.per_1000_completion_tokens)
    gpus = max((each.gpu for each in spec.resources.values()), default=0)
    time_ms = int(spec.scale.timeout_seconds * 1000) + LATE_MS
    fixed = time_ms * gpus * _nano(prices.per_gpu_second) + 1000 * _nano(prices.per_load)
    match endpoint:
        case "chat.completions":
            # Prompt and answer share the context: the worst is all of it for the dearer one.
            return _rounded(fixed + model.context * max(prompt, MOST_ANSWERS * answer)), 0
        case "completions":
            most = MOST_COMPLETIONS * model.context * max(prompt, answer)
            return _rounded(fixed + most), 0
        case "embeddings":
            # A text has no more tokens than bytes, and what frames it less than its quotes,
            # comma and field name.
            return _rounded(fixed), -(-prompt // 1000)
        case _:
            assert_never(endpoint)


def _nano(price: Decimal) -> int:
    return int(price * NANO)  # exact: prices have at most nine decimals


def _rounded(thousandths: int) -> int:
    return (thousandths + 500) // 1000
