"""What calls cost, and that none costs more than what is reserved for it."""

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse import prices
from dormouse.catalog.schemas import Endpoint, ModelSpec, Prices, Resources, Scale, ServiceSpec
from dormouse.prices import cost_nano, most_nano
from dormouse_predictors.base import EmbedRequest, GenerateRequest
from dormouse_predictors.requests import chat, completions, embeddings


@dataclass(frozen=True)
class Used:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    compute_ms: int = 0
    gpus: int = 0
    audio_ms: int = 0
    images: int = 0
    load_ms: int = 0


MODEL = ModelSpec(
    title="m",
    profiles=["starter"],
    source="file:/m",
    size_mb=1,
    layers=1,
    context=64,
    parameters=1,
    license="MIT",
)


def service(of: Prices, *, gpus: int = 0, timeout: float = 600) -> ServiceSpec:
    return ServiceSpec(
        title="s",
        category="text",
        engine="llama",
        endpoints=["chat.completions"],
        prices=of,
        scale=Scale(timeout_seconds=timeout),
        resources={"starter": Resources(), "standard": Resources(gpu=gpus)},
    )


@pytest.mark.parametrize(
    ("price", "used", "expected"),
    [
        ({"per_1000_prompt_tokens": "0.0002"}, Used(prompt_tokens=1), 200),
        ({"per_1000_completion_tokens": "0.0006"}, Used(completion_tokens=1_000), 600_000),
        ({"per_audio_second": "0.006"}, Used(audio_ms=1_500), 9_000_000),
        ({"per_image": "0.04"}, Used(images=3), 120_000_000),
        ({"per_gpu_second": "0.0012"}, Used(compute_ms=2_500, gpus=2), 6_000_000),
        ({"per_gpu_second": "0.0012"}, Used(compute_ms=2_500), 0),
        ({"per_load": "0.5"}, Used(load_ms=1), 500_000_000),
        ({"per_load": "0.5"}, Used(load_ms=90_000), 500_000_000),
        ({"per_load": "0.5"}, Used(prompt_tokens=9), 0),
        ({"per_1000_prompt_tokens": "0.000000001"}, Used(prompt_tokens=499), 0),
        ({"per_1000_prompt_tokens": "0.000000001"}, Used(prompt_tokens=500), 1),
    ],
)
def test_each_price_counts_its_own(price: dict[str, str], used: Used, expected: int) -> None:
    assert cost_nano(Prices.model_validate(price), used) == expected


def test_rounds_once_and_not_every_part() -> None:
    tiny = Decimal("0.000000001")
    of = Prices(per_1000_prompt_tokens=tiny, per_1000_completion_tokens=tiny)
    assert cost_nano(of, Used(prompt_tokens=400, completion_tokens=400)) == 1


amounts = st.decimals(min_value=0, max_value=10**8, places=9)
price_lists = st.builds(Prices, **dict.fromkeys(Prices.model_fields, amounts))
usages = st.builds(Used, **dict.fromkeys(Used.__dataclass_fields__, st.integers(0, 2**40)))


@given(price_lists, usages)
def test_is_exact_to_half_a_unit(of: Prices, used: Used) -> None:
    exact = (
        of.per_1000_prompt_tokens * used.prompt_tokens / 1000
        + of.per_1000_completion_tokens * used.completion_tokens / 1000
        + of.per_audio_second * used.audio_ms / 1000
        + of.per_image * used.images
        + of.per_gpu_second * used.compute_ms * used.gpus / 1000
        + of.per_load * bool(used.load_ms)
    )
    assert abs(2 * (cost_nano(of, used) - exact * prices.NANO)) <= 1 or exact > 10**15


@given(price_lists, usages, st.sampled_from(list(Used.__dataclass_fields__)))
def test_more_use_never_costs_less(of: Prices, used: Used, field: str) -> None:
    more = replace(used, **{field: getattr(used, field) + 1})
    assert cost_nano(of, more) >= cost_nano(of, used)


numbers = st.integers(min_value=0, max_value=300)
prompts = st.one_of(
    st.text(min_size=1, max_size=90),
    st.lists(numbers, min_size=1, max_size=90),
    st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=128),
    st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=1, max_size=128),
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=90)}),
    min_size=1,
    max_size=5,
)


def asked(endpoint: Endpoint, body: dict[str, Any]) -> GenerateRequest | EmbedRequest:
    parse = {
        "chat.completions": chat.parse,
        "completions": completions.parse,
        "embeddings": embeddings.parse,
    }[endpoint]
    return parse(body).request


def dearest(request: GenerateRequest, prompt_tokens: int) -> Used:
    """What an engine counts at most if each prompt has `prompt_tokens`."""
    room = MODEL.context - prompt_tokens
    parts = len(request.prompts)
    return Used(parts * prompt_tokens, parts * request.n * room)


@given(
    price_lists,
    st.sampled_from(["chat.completions", "completions"]),
    prompts,
    messages,
    st.integers(1, 8),
    st.integers(1, MODEL.context),
    st.integers(0, 4),
    st.integers(0, 1),
    st.floats(0.1, 600),
    st.floats(0, 1),
)
def test_no_generating_call_costs_more_than_is_reserved(
    of: Prices,
    endpoint: Endpoint,
    prompt: Any,
    conversation: Any,
    n: int,
    prompt_tokens: int,
    gpus: int,
    load_ms: int,
    timeout: float,
    part: float,
) -> None:
    field = {"messages": conversation} if endpoint == "chat.completions" else {"prompt": prompt}
    if endpoint == "completions" and isinstance(prompt, list):
        n = max(1, min(n, prices.MOST_COMPLETIONS // len(prompt)))
    body = {"model": "m", "n": n, **field}
    request = asked(endpoint, body)
    assert isinstance(request, GenerateRequest)
    used = replace(
        dearest(request, prompt_tokens),
        compute_ms=int((timeout * 1000 + prices.LATE_MS) * part),
        gpus=gpus,
        load_ms=load_ms,
    )
    spec = service(of, gpus=gpus, timeout=timeout)
    fixed, per_byte = most_nano(spec, MODEL, endpoint)
    assert cost_nano(of, used) <= fixed + per_byte * len(json.dumps(body))


@given(price_lists, prompts, st.booleans(), st.integers(0, 1))
def test_no_embedding_costs_more_than_is_reserved(
    of: Prices, inputs: Any, escaped: bool, load_ms: int
) -> None:
    body = {"model": "m", "input": inputs}
    request = asked("embeddings", body)
    assert isinstance(request, EmbedRequest)
    # A token for every byte of a text, and one before and one after it.
    tokens = [len(part.encode()) if isinstance(part, str) else len(part) for part in request.inputs]
    used = Used(prompt_tokens=sum(tokens) + 2 * len(tokens), load_ms=load_ms)
    raw = json.dumps(body, ensure_ascii=escaped, separators=(",", ":")).encode()
    fixed, per_byte = most_nano(service(of), MODEL, "embeddings")
    assert cost_nano(of, used) <= fixed + per_byte * len(raw)


@pytest.mark.parametrize(
    ("endpoint", "prompts", "n"), [("chat.completions", 1, 8), ("completions", 128, 1)]
)
def test_the_dearest_call_of_all_costs_hardly_less_than_is_reserved(
    endpoint: Endpoint, prompts: int, n: int
) -> None:
    of = Prices(per_1000_completion_tokens=Decimal("0.0006"))
    asked = GenerateRequest(prompts=("a",) * prompts, n=n)
    fixed, per_byte = most_nano(service(of), MODEL, endpoint)
    assert per_byte == 0
    assert fixed * 0.98 <= cost_nano(of, dearest(asked, 1)) <= fixed


def test_the_most_that_validators_allow_is_what_is_reserved_for() -> None:
    def ask(prompts: int, n: int) -> None:
        asked("completions", {"model": "m", "prompt": ["a"] * prompts, "n": n})

    most = prices.MOST_COMPLETIONS
    ask(most, 1)
    ask(most // prices.MOST_ANSWERS, prices.MOST_ANSWERS)
    for prompts, n in ((1, prices.MOST_ANSWERS + 1), (most + 1, 1), (most // 2 + 1, 2)):
        with pytest.raises(Exception, match="must be"):
            ask(prompts, n)


def test_what_costs_nothing_reserves_nothing() -> None:
    for endpoint in ("chat.completions", "completions", "embeddings"):
        assert most_nano(service(Prices(), gpus=8), MODEL, endpoint) == (0, 0)
