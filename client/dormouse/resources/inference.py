"""What the calls to models have in common: their options, and where priority and model travel."""

from collections.abc import Mapping
from typing import Any, Literal, Required, TypedDict, cast  # Any: a body is JSON

from dormouse.calls import Call


class InferenceOptions(TypedDict, total=False):
    """Options of every call to a model. An option that is None is not sent."""

    model: Required[str]
    priority: Literal[0, 1, 2] | None
    """0 is served first; what you may ask for depends on your tier."""
    user: str | None
    """Your own end user, for your usage list."""
    extra_body: Mapping[str, Any] | None
    extra_headers: Mapping[str, str] | None
    timeout: float | None


class SamplingOptions(InferenceOptions, total=False):
    """Options of the calls that make text."""

    temperature: float | None
    """0 is always the likeliest token; 0.2 nearly so; 0.8 is varied."""
    max_tokens: int | None
    top_p: float | None
    top_k: int | None
    """How many tokens are candidates at each step."""
    presence_penalty: float | None
    frequency_penalty: float | None
    repeat_penalty: float | None
    """Above 1 makes what was said less likely."""
    stop: str | list[str] | None
    seed: int | None
    n: int | None
    stream_options: Mapping[str, Any] | None
    """`{"include_usage": True}` adds a last chunk with the usage."""
    n_threads: int | None
    """CPU threads to compute with."""
    n_gpu_layers: int | None
    """Layers of the model to place on a GPU."""


def inference_call(
    path: str, options: Mapping[str, Any], *, needs: tuple[str, ...], stream: bool = False
) -> Call:
    body = {name: value for name, value in options.items() if value is not None}
    missing = [f"{name}=" for name in needs if name not in body]
    if missing:
        raise TypeError(f"missing {' and '.join(missing)}")
    extra_headers = cast(Mapping[str, str], body.pop("extra_headers", {}))
    extra_body = cast(Mapping[str, Any], body.pop("extra_body", {}))
    timeout = cast(float | None, body.pop("timeout", None))
    body |= extra_body
    if stream:
        body["stream"] = True
    return Call(
        "POST",
        path,
        body=body,
        headers=_routing_headers(body) | dict(extra_headers),
        timeout=timeout,
    )


def _routing_headers(body: Mapping[str, Any]) -> dict[str, str]:
    # With these the gateway need not look into the body, which may be long.
    headers = {}
    model, priority = body["model"], body.get("priority")
    if isinstance(model, str) and model.isascii() and model.isprintable():
        headers["x-dormouse-model"] = model
    if priority is not None:
        headers["x-dormouse-priority"] = str(priority)
    return headers
