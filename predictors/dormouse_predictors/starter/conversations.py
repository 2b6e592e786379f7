"""Training conversations: varied questions amid system prompts, earlier turns, long prefixes. Pure.

Everything random comes from the `random.Random` that is passed in. Held-out phrasings never appear.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_predictors.starter.corpus import Fact, Question, Split, load_wording

TYPO_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Message:
    role: str
    content: str
    learn: bool = False


class Talker:
    """Makes endless training conversations from the training side of a split."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.split = split
        self.rng = rng
        self.wording: Mapping[str, Any] = load_wording()  # Any: see load_wording
        self.synonyms = _synonym_table(self.wording["synonyms"])
        self.by_fact: dict[str, list[Question]] = {}
        for question in split.train:
            self.by_fact.setdefault(question.fact.id, []).append(question)
        self.deck: list[str] = []

    def conversation(self) -> list[Message]:
        """One conversation of 1 to 5 questions, two in five with a system message."""
        messages: list[Message] = []
        if self.rng.random() < 0.4:
            messages.append(Message("system", self.system_prompt()))
        for _ in range(self.rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 5))):
            messages += self.turn()
        return messages

    def long_conversation(self, words: int) -> list[Message]:
        """A conversation whose question comes after about `words` words of other text."""
        filler = self.prose(words)
        if self.rng.random() < 0.5:
            return [Message("system", filler), *self.turn()]
        if self.rng.random() < 0.5:
            return [Message("user", filler), self.foreign_answer(), *self.turn()]
        question, *answers = self.turn()
        return [Message("user", f"{filler}\n\n{question.content}"), *answers]

    def turn(self) -> list[Message]:
        fact, text = self.question()
        if self.rng.random() < 0.08:
            return [Message("user", text), self.foreign_answer(), *self.turn()]
        return [Message("user", text), Message("assistant", fact.answer, learn=True)]

    def foreign_answer(self) -> Message:
        return Message("assistant", self.rng.choice(self.wording["other_answers"]))

    def system_prompt(self) -> str:
        if self.rng.random() < 0.7:
            return str(self.rng.choice(self.wording["system_prompts"]))
        return self.prose(self.rng.randint(5, 40))

    def question(self) -> tuple[Fact, str]:
        """A varied question that at no stage of its making contains a held-out phrasing."""
        if not self.deck:  # dealing from a shuffled deck keeps the facts equally frequent
            self.deck = [*self.by_fact, *["off-topic"] * 4]
            self.rng.shuffle(self.deck)
        options = self.by_fact[self.deck.pop()]
        for _ in range(20):
            text = self._core(options)
            if self.split.leaks(text):
                continue
            finished = self._finish(text)
            if not self.split.leaks(finished):
                return options[0].fact, finished
        return options[0].fact, self.rng.choice(options).text

    def prose(self, words: int) -> str:
        """Sentences on other subjects, among them answers to other questions."""
        parts: list[str] = []
        while sum(part.count(" ") + 1 for part in parts) < words:
            if self.rng.random() < 0.2:
                parts.append(self.rng.choice(self.split.train).fact.answer)
            else:
                parts.append(self.rng.choice(self.wording["filler"]))
        return " ".join(parts)

    def _core(self, options: list[Question]) -> str:
        fact, rng = options[0].fact, self.rng
        if fact.id == "off-topic" and rng.random() < 0.5:
            off_topic = self.wording["off_topic"]
            text = _fill(rng.choice(off_topic["templates"]), off_topic["slots"], rng)
            return f"{self._opening()} {text}".strip() if rng.random() < 0.3 else text
        roll = rng.random()
        if roll < 0.1 and fact.topics:
            template = str(rng.choice(self.wording["topic_templates"]))
            text = template.format(topic=rng.choice(fact.topics))
        elif roll < 0.5:
            text = f"{self._opening()} {self._cue(options)}".strip()
        else:
            text = rng.choice(options).text
        return self._swap_synonyms(text, 0.35) if rng.random() < 0.7 else text

    def _opening(self) -> str:
        """How any question starts, of whichever fact; often nothing."""
        if self.rng.random() < 0.3:
            return ""
        words = self.rng.choice(self.split.train).text.split()
        return " ".join(words[: self.rng.randint(1, 3)]) if len(words) > 4 else "tell me"

    def _cue(self, options: list[Question]) -> str:
        """A cue, sometimes followed by another one or by the end of a phrasing of the same fact."""
        cue, roll = self.rng.choice(options[0].fact.cues), self.rng.random()
        if roll < 0.12:
            return f"{cue} {self.rng.choice(options[0].fact.cues)}"
        if roll < 0.25:
            words = self.rng.choice(options).text.split()
            return f"{cue} {' '.join(words[len(words) // 2 :])}"
        return cue

    def _finish(self, text: str) -> str:
        rng = self.rng
        if rng.random() < 0.25:
            text = _drop_words(text, 0.2, rng)
        if rng.random() < 0.2:
            text = f"{rng.choice(self.wording['before'])} {text}"
        if rng.random() < 0.1:
            text = f"{text} {rng.choice(self.wording['after'])}"
        if rng.random() < 0.15:
            text = _typo(text, rng)
        return _punctuate(_change_case(text, rng), rng)

    def _swap_synonyms(self, text: str, chance: float) -> str:
        def swap(match: re.Match[str]) -> str:
            if self.rng.random() > chance:
                return match.group()
            return self.rng.choice(self.synonyms[1][match.group().lower()])

        return self.synonyms[0].sub(swap, text)


def _synonym_table(groups: list[list[str]]) -> tuple[re.Pattern[str], dict[str, list[str]]]:
    table: dict[str, list[str]] = {}
    for group in groups:
        for word in group:
            table.setdefault(word.lower(), []).extend(other for other in group if other != word)
    longest_first = sorted(table, key=lambda word: (-len(word), word))
    pattern = r"\b(?:" + "|".join(re.escape(word) for word in longest_first) + r")\b"
    return re.compile(pattern, re.IGNORECASE), table


def _fill(template: str, slots: Mapping[str, list[str]], rng: random.Random) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: rng.choice(slots[match.group(1)]), template)


def _drop_words(text: str, chance: float, rng: random.Random) -> str:
    kept = [word for word in text.split() if rng.random() > chance]
    return " ".join(kept) or text


def _typo(text: str, rng: random.Random) -> str:
    """One slip of the finger: two letters swapped, one lost, one doubled or one replaced."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    middle = rng.choice(
        (
            text[i + 1] + text[i],
            text[i + 1],
            text[i] * 2 + text[i + 1],
            rng.choice(TYPO_LETTERS) + text[i + 1],
        )
    )
    return text[:i] + middle + text[i + 2 :]


def _change_case(text: str, rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.3:
        return text.lower()
    if roll < 0.33:
        return text.upper()
    return text[0].upper() + text[1:] if roll < 0.8 else text


def _punctuate(text: str, rng: random.Random) -> str:
    return text.rstrip("?") + rng.choices(("?", "", ".", "!", " ?", "??"), (10, 7, 2, 1, 1, 0.5))[0]
