"""Batches: every text once, the urgent first, owners in turns, and none that is never computed."""

from hypothesis import given
from hypothesis import strategies as st

from dormouse_predictors.base import Computation, EmbedRequest, Meter
from dormouse_predictors.engines.embedding_batches import LIKE, MAX_BATCH, MAX_TOKENS, Batches
from dormouse_predictors.errors import Cancelled


def call(owner: str = "ada", priority: int = 1) -> Computation:
    return Computation(EmbedRequest(()), Meter(), owner, priority)


def texts(*lengths: int) -> list[list[int]]:
    """Each is told by its first token."""
    return [[number] * length for number, length in enumerate(lengths, 1)]


def work(batches: Batches) -> list[list[int]]:
    """Lengths of what was computed, batch by batch; a vector says which text it is of."""
    found = []
    while batch := batches.take():
        found.append([len(text.tokens) for text in batch])
        batches.give(batch, [str(text.tokens[0]).encode() for text in batch])
    return found


def test_a_text_that_is_longer_than_a_batch_is_computed_by_itself() -> None:
    batches, long, short = Batches(), call(), call("bob")
    batches.add(long, texts(MAX_TOKENS + 1))
    batches.add(short, texts(5))
    assert sorted(work(batches)) == [[5], [MAX_TOKENS + 1]]
    assert (long.ended, short.ended) == (True, True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 2),
            st.lists(st.integers(1, MAX_TOKENS * 2), max_size=40),
        ),
        max_size=8,
    )
)
def test_every_call_gets_its_own_vectors_in_its_own_order(
    calls: list[tuple[str, int, list[int]]],
) -> None:
    batches, made = Batches(), []
    for owner, priority, lengths in calls:
        made.append((call(owner, priority), len(lengths)))
        batches.add(made[-1][0], texts(*lengths))
    for lengths in work(batches):
        assert len(lengths) <= MAX_BATCH
        if len(lengths) > 1:
            assert max(lengths) * len(lengths) <= MAX_TOKENS
            assert max(lengths) <= LIKE * max(8, min(lengths))
    for each, count in made:
        assert (each.ended, each.error) == (True, None)
        assert each.embedded is not None
        assert each.embedded.vectors == tuple(str(n).encode() for n in range(1, count + 1))


def test_the_more_urgent_goes_first_and_owners_take_turns() -> None:
    batches = Batches()
    batches.add(call("ada"), texts(*[100] * 1000))
    batches.add(call("bob"), texts(100, 100))
    batches.add(call("eve", priority=0), texts(100))
    first = batches.take()
    assert [text.of.call.owner for text in first[:5]] == ["eve", "ada", "bob", "ada", "bob"]


def test_one_that_is_cancelled_gives_no_more_and_ends() -> None:
    batches, gone, stays = Batches(), call(), call("bob")
    batches.add(gone, texts(5, 5))
    batches.add(stays, texts(5))
    gone.meter.cancel()
    assert work(batches) == [[5]]
    assert isinstance(gone.error, Cancelled)
    assert (stays.error, stays.ended) == (None, True)


def test_after_a_batch_that_failed_nothing_is_left_of_its_calls() -> None:
    batches, broken = Batches(), call()
    batches.add(broken, texts(5))
    batches.take()
    batches.clear(RuntimeError("no memory"))
    assert (str(broken.error), batches.take()) == ("no memory", [])
