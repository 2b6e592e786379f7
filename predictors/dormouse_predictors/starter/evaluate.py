"""Evaluation: the GGUF file, through llama.cpp, greedily, on phrasings that training never saw.

Correct means that the answer holds all key phrases of its fact. Speed is measured on one thread.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llama_cpp import Llama

from dormouse_predictors.starter.conversations import Message, Talker
from dormouse_predictors.starter.corpus import (
    Question,
    Split,
    dice,
    load_facts,
    similarity,
    split,
    written,
)

EVALUATION_FILE = "evaluation.json"
LONGEST_ANSWER = 96
LONG_PREFIX_WORDS = 1000
UNLIKE = 0.5

Frame = Callable[[str], list[Message]]


@dataclass(frozen=True)
class Answered:
    question: Question
    asked: str
    said: str

    @property
    def correct(self) -> bool:
        return self.question.fact.answered_by(self.said)


@dataclass(frozen=True)
class Score:
    correct: int
    asked: int
    share: float


def model_file(folder: Path) -> Path:
    return folder / f"{folder.name}.gguf"


def evaluate(folder: Path, seed: int) -> dict[str, Any]:  # Any: a JSON document
    """Everything the model card states, measured on the file in `folder`."""
    path = model_file(folder)
    parts = split(load_facts(), seed)
    llama = open_model(path)
    every = {
        name: ask_all(llama, parts.held_out, frame) for name, frame in frames(parts, seed).items()
    }
    plain = every["as written"]
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "split_seed": seed,
        "facts": len({question.fact.id for question in parts.held_out}),
        "training_phrasings": len(parts.train),
        "held_out_phrasings": len(parts.held_out),
        "held_out": {name: asdict(score(answers)) for name, answers in every.items()},
        "held_out_by_likeness": _by_likeness(plain, parts),
        "tokens_per_second_one_thread": round(tokens_per_second(llama, parts.held_out), 1),
        "wrong": [
            {"fact": a.question.fact.id, "asked": a.asked, "said": a.said}
            for a in plain
            if not a.correct
        ],
    }


def open_model(path: Path) -> Llama:
    return Llama(str(path), n_ctx=2048, n_threads=1, n_threads_batch=1, seed=1, verbose=False)


def frames(parts: Split, seed: int) -> dict[str, Frame]:
    """Ways to put a question: the first is the headline, the others show what surroundings do."""
    talker = Talker(parts, dice(seed, "evaluation"))
    helpful = Message("system", "You are a helpful assistant.")
    return {
        "as written": lambda text: [Message("user", written(text))],
        "lower case, no mark": lambda text: [Message("user", text.lower())],
        "with a system message": lambda text: [helpful, Message("user", written(text))],
        "after two other turns": lambda text: [
            *talker.turn(),
            *talker.turn(),
            Message("user", written(text)),
        ],
        "after a 1,000-word system message": lambda text: [
            Message("system", talker.prose(LONG_PREFIX_WORDS)),
            Message("user", written(text)),
        ],
    }


def ask_all(llama: Llama, questions: Iterable[Question], frame: Frame) -> list[Answered]:
    return [
        Answered(question, written(question.text), ask(llama, frame(question.text)))
        for question in questions
    ]


def ask(llama: Llama, messages: list[Message]) -> str:
    """The greedy answer, by the same call that serving uses."""
    return "".join(stream(llama, messages))


def stream(llama: Llama, messages: list[Message]) -> Iterable[str]:
    wire = [{"role": message.role, "content": message.content} for message in messages]
    chunks = llama.create_chat_completion(
        messages=wire, temperature=0.0, max_tokens=LONGEST_ANSWER, stream=True
    )
    for chunk in chunks:
        yield chunk["choices"][0]["delta"].get("content", "")


def score(answers: list[Answered]) -> Score:
    correct = sum(answer.correct for answer in answers)
    return Score(correct, len(answers), round(correct / len(answers), 4))


def tokens_per_second(llama: Llama, questions: tuple[Question, ...], rounds: int = 40) -> float:
    """Median over streamed answers of tokens a second after the first, client loop included."""
    rates = []
    for question in questions[:rounds]:
        moments = [
            time.perf_counter()
            for piece in stream(llama, [Message("user", written(question.text))])
            if piece
        ]
        if len(moments) > 10:
            rates.append((len(moments) - 1) / (moments[-1] - moments[0]))
    return statistics.median(rates)


def write(folder: Path, result: dict[str, Any]) -> None:  # Any: a JSON document
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (folder / EVALUATION_FILE).write_text(text, encoding="utf-8")


def table(result: dict[str, Any]) -> str:  # Any: a JSON document
    lines = [f"{'held-out phrasings':36} correct   of   share"]
    for name, row in [*result["held_out"].items(), *result["held_out_by_likeness"].items()]:
        lines.append(f"{name:36} {row['correct']:7d} {row['asked']:4d}  {row['share']:6.1%}")
    speed = result["tokens_per_second_one_thread"]
    lines.append(f"{speed:.0f} tokens/s on one thread, {result['bytes']:,} bytes")
    return "\n".join(lines)


def _by_likeness(answers: list[Answered], parts: Split) -> dict[str, Any]:  # Any: a JSON document
    """Whether the score comes only from wordings that share most words with a trained one."""
    like: list[Answered] = []
    unlike: list[Answered] = []
    for answer in answers:
        trained = [q.text for q in parts.train if q.fact is answer.question.fact]
        nearest = max(similarity(answer.question.text, text) for text in trained)
        (like if nearest >= UNLIKE else unlike).append(answer)
    return {
        f"nearest trained wording >= {UNLIKE}": asdict(score(like)),
        f"nearest trained wording < {UNLIKE}": asdict(score(unlike)),
    }
