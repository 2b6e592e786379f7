"""The shipped models are those evaluated, as good as their cards say. Needs llama-cpp-python."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

from dormouse_predictors.starter.conversations import Message, Talker
from dormouse_predictors.starter.corpus import dice, load_facts, split
from dormouse_predictors.starter.train import Recipe

pytest.importorskip("llama_cpp", reason="the extra `llama` is not installed")

from dormouse_predictors.starter import evaluate
from dormouse_predictors.starter.tokenizer import CHAT_TEMPLATE, rendered

CHAT = Path(__file__).parents[3] / "services" / "chat"
PARTS = split(load_facts(), Recipe.seed)
TEN_MB = 10_000_000


@pytest.fixture(scope="module", params=["dormouse-chat", "dormouse-chat-mini"])
def folder(request: pytest.FixtureRequest) -> Path:
    return CHAT / str(request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return evaluate.model_file(folder)


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> dict[str, Any]:  # Any: a JSON document
    document: dict[str, Any] = json.loads((folder / evaluate.EVALUATION_FILE).read_text("utf-8"))
    return document


def test_the_evaluation_is_of_the_shipped_file(model: Path, evaluation: dict[str, Any]) -> None:
    assert hashlib.sha256(model.read_bytes()).hexdigest() == evaluation["sha256"]
    assert evaluation["split_seed"] == Recipe.seed
    assert evaluation["held_out_phrasings"] == len(PARTS.held_out)


def test_the_file_is_at_most_10_mb(model: Path) -> None:
    assert model.stat().st_size <= TEN_MB


def test_the_model_answers_nine_of_ten_held_out_phrasings(model: Path) -> None:
    frame = evaluate.frames(PARTS, Recipe.seed)["as written"]
    answers = evaluate.ask_all(evaluate.open_model(model), PARTS.held_out, frame)
    assert evaluate.score(answers).share >= 0.9


def test_the_model_still_answers_most_after_1000_words_of_something_else(model: Path) -> None:
    frame = evaluate.frames(PARTS, Recipe.seed)["after a 1,000-word system message"]
    answers = evaluate.ask_all(evaluate.open_model(model), PARTS.held_out[::12], frame)
    assert evaluate.score(answers).share >= 0.5


def test_the_chat_template_gives_what_training_used() -> None:
    template = Template(CHAT_TEMPLATE)
    talker = Talker(PARTS, dice(Recipe.seed, "template"))
    for _ in range(50):
        messages = talker.conversation()
        assert template.render(messages=[vars(message) for message in messages]) == rendered(
            messages
        )


def test_the_chat_template_ends_where_the_answer_starts() -> None:
    asked = Template(CHAT_TEMPLATE).render(
        messages=[vars(Message("user", " hello "))], add_generation_prompt=True
    )
    assert asked == "<|user|> hello<|end|><|assistant|>"
