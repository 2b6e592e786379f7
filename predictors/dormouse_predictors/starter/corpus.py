"""From the file of facts to training questions and held-out phrasings, split by seed. Pure.

A held-out phrasing is a whole hand-written wording. It occurs nowhere in what training may ask,
not even inside a longer sentence: every generated question has to pass `Split.leaks`.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

HELD_OUT_SHARE = 0.2
HELD_OUT_LEAST = 2
QUESTION_WORDS = frozenset(
    [
        "what",
        "which",
        "how",
        "who",
        "when",
        "where",
        "why",
        "is",
        "are",
        "am",
        "do",
        "does",
        "did",
        "can",
        "could",
        "may",
        "will",
        "should",
        "must",
        "under",
        "at",
        "on",
        "in",
        "through",
        "per",
    ]
)


@dataclass(frozen=True)
class Fact:
    id: str
    answer: str
    keys: tuple[str, ...]
    topics: tuple[str, ...]
    cues: tuple[str, ...]
    phrasings: tuple[str, ...]

    def answered_by(self, text: str) -> bool:
        """Whether `text` says this fact: it holds every key phrase."""
        lowered = " ".join(text.lower().split())
        return all(key.lower() in lowered for key in self.keys)


@dataclass(frozen=True)
class Question:
    fact: Fact
    text: str


@dataclass(frozen=True)
class Split:
    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    pattern: re.Pattern[str]

    def leaks(self, text: str) -> bool:
        """Whether a held-out phrasing occurs in `text`, whatever its case and punctuation."""
        return self.pattern.search(f" {normalise(text)} ") is not None


def load_facts() -> tuple[Fact, ...]:
    return tuple(
        Fact(
            id=entry["id"],
            answer=entry["answer"],
            keys=tuple(entry["keys"]),
            topics=tuple(entry["topics"]),
            cues=tuple(str(cue) for cue in entry["cues"]),
            phrasings=tuple(str(phrasing) for phrasing in entry["phrasings"]),
        )
        for entry in _read("facts.yaml")["facts"]
    )


def load_wording() -> Mapping[str, Any]:  # Any: free-form lists and tables of words
    return _read("wording.yaml")


def split(facts: tuple[Fact, ...], seed: int) -> Split:
    """Hold out a fifth of each fact's phrasings, at least two, chosen by `seed` alone."""
    every = [normalise(phrasing) for fact in facts for phrasing in fact.phrasings]
    train: list[Question] = []
    held_out: list[Question] = []
    for fact in facts:
        # A wording that is part of another one cannot be kept out of training, so it stays in.
        eligible = [p for p in fact.phrasings if _occurrences(normalise(p), every) == 1]
        wanted = max(HELD_OUT_LEAST, round(HELD_OUT_SHARE * len(fact.phrasings)))
        chosen = set(dice(seed, fact.id).sample(eligible, wanted))
        train += [Question(fact, p) for p in fact.phrasings if p not in chosen]
        held_out += [Question(fact, p) for p in fact.phrasings if p in chosen]
    alternatives = "|".join(re.escape(normalise(question.text)) for question in held_out)
    return Split(tuple(train), tuple(held_out), re.compile(f" (?:{alternatives}) "))


def dice(seed: int, purpose: str) -> random.Random:
    """Independent dice for each purpose, the same on every machine (a string seeds by SHA-512)."""
    return random.Random(f"{seed}:{purpose}")  # noqa: S311  # nothing secret is made from it


def normalise(text: str) -> str:
    """Lower-case words with single spaces and no punctuation."""
    return " ".join(re.findall(r"[a-z0-9_]+", text.lower()))


def written(text: str) -> str:
    """A phrasing as a careful person would send it: capital letter and closing mark."""
    mark = "?" if text.split()[0].lower().rstrip(",") in QUESTION_WORDS else ""
    return text[0].upper() + text[1:] + mark


def similarity(one: str, other: str) -> float:
    """Shared words of two questions as a share of all their words (Jaccard)."""
    first, second = set(normalise(one).split()), set(normalise(other).split())
    return len(first & second) / len(first | second)


def _occurrences(phrase: str, every: list[str]) -> int:
    return sum(f" {phrase} " in f" {text} " for text in every)


def _read(name: str) -> Mapping[str, Any]:  # Any: what YAML holds is given types by the callers
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    content: Mapping[str, Any] = yaml.safe_load(text)
    return content
