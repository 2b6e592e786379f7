"""The file of facts is well-formed, and what is held out never reaches training."""

import pytest

from dormouse_predictors.starter.conversations import Talker
from dormouse_predictors.starter.corpus import (
    HELD_OUT_LEAST,
    Fact,
    dice,
    load_facts,
    normalise,
    split,
    written,
)
from dormouse_predictors.starter.train import Recipe

FACTS = load_facts()
SEED = Recipe.seed


def test_there_are_40_to_80_facts_with_unique_ids() -> None:
    assert 40 <= len(FACTS) <= 80
    assert len({fact.id for fact in FACTS}) == len(FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.id)
def test_each_fact_is_told_from_all_others_by_its_key_phrases(fact: Fact) -> None:
    assert [other.id for other in FACTS if fact.answered_by(other.answer)] == [fact.id]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.id)
def test_each_fact_has_ten_different_phrasings_and_a_short_answer(fact: Fact) -> None:
    assert len({normalise(phrasing) for phrasing in fact.phrasings}) >= 10
    assert len({normalise(phrasing) for phrasing in fact.phrasings}) == len(fact.phrasings)
    assert 8 <= len(fact.answer.split()) <= 45


def test_no_phrasing_belongs_to_two_facts() -> None:
    phrasings = [normalise(phrasing) for fact in FACTS for phrasing in fact.phrasings]
    assert len(set(phrasings)) == len(phrasings)


def test_the_split_depends_on_the_seed_alone() -> None:
    assert split(FACTS, SEED) == split(load_facts(), SEED)
    assert split(FACTS, SEED).held_out != split(FACTS, SEED + 1).held_out


def test_a_fifth_and_at_least_two_phrasings_of_each_fact_are_held_out() -> None:
    held_out = split(FACTS, SEED).held_out
    for fact in FACTS:
        count = sum(question.fact == fact for question in held_out)
        assert count >= HELD_OUT_LEAST
        assert count / len(fact.phrasings) == pytest.approx(0.2, abs=0.05)


def test_no_held_out_phrasing_is_part_of_a_training_phrasing() -> None:
    parts = split(FACTS, SEED)
    assert [question.text for question in parts.train if parts.leaks(question.text)] == []


def test_the_check_for_leaks_sees_through_case_punctuation_and_surroundings() -> None:
    parts = split(FACTS, SEED)
    phrasing = parts.held_out[0].text
    assert parts.leaks(f"Hey, {phrasing.upper()}?!")
    assert not parts.leaks("something entirely different")


def test_no_held_out_phrasing_is_in_training_conversations() -> None:
    parts = split(FACTS, SEED)
    talker = Talker(parts, dice(SEED, "training"))
    spoken = [message for _ in range(3000) for message in talker.conversation()]
    spoken += [message for _ in range(100) for message in talker.long_conversation(500)]
    assert [message.content for message in spoken if parts.leaks(message.content)] == []


def test_conversations_depend_on_the_seed_alone() -> None:
    parts = split(FACTS, SEED)
    one, other = (Talker(parts, dice(SEED, "training")) for _ in range(2))
    assert [one.conversation() for _ in range(50)] == [other.conversation() for _ in range(50)]


@pytest.mark.parametrize(
    ("phrasing", "sent"),
    [("what is a nest", "What is a nest?"), ("show me my usage", "Show me my usage")],
    ids=["question", "request"],
)
def test_phrasings_are_sent_as_a_careful_person_writes(phrasing: str, sent: str) -> None:
    assert written(phrasing) == sent
