from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse_predictors.base import TokenLogprob
from dormouse_predictors.engines.text import TextStream


def pushed(pieces: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    stream = TextStream(stop)
    texts = []
    for piece in pieces:
        out = stream.push(piece)
        texts.append(out.text)
        if out.stopped:
            return texts, True
    out = stream.finish()
    return [*texts, out.text], out.stopped


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "stopped"),
    [
        pytest.param([b"ab", b"cd"], [], "abcd", False, id="no stop"),
        pytest.param([b"a\xc3", b"\xa4b"], [], "aäb", False, id="character over two tokens"),
        pytest.param([b"\xf0\x9f", b"\x90"], [], "\ufffd", False, id="unfinished character"),
        pytest.param([b"a\xff", b"b"], [], "a\ufffdb", False, id="no UTF-8"),
        pytest.param([b"one END two"], ["END"], "one ", True, id="inside a token"),
        pytest.param([b"one E", b"N", b"D two"], ["END"], "one ", True, id="over three tokens"),
        pytest.param([b"one E", b"N", b"T"], ["END"], "one ENT", False, id="false alarm"),
        pytest.param([b"one E", b"N"], ["END"], "one EN", False, id="ends while held back"),
        pytest.param([b"aab"], ["ab", "aa"], "", True, id="the first of several wins"),
        pytest.param([b"x\xc3", b"\xa4"], ["ä"], "x", True, id="a character of two tokens"),
        pytest.param([b"END"], ["END"], "", True, id="nothing but the stop"),
    ],
)
def test_text_comes_out_without_its_stop(
    pieces: list[bytes], stop: list[str], text: str, stopped: bool
) -> None:
    texts, found = pushed(pieces, stop)
    assert "".join(texts) == text
    assert found is stopped


def test_what_may_become_a_stop_is_held_back_and_no_more() -> None:
    stream = TextStream(["<end>"])
    assert stream.push(b"hello <").text == "hello "
    assert stream.push(b"en").text == ""
    assert stream.push(b"ough").text == "<enough"


def test_a_character_is_held_back_until_it_is_whole() -> None:
    stream = TextStream()
    assert stream.push("é".encode()[:1]).text == ""
    assert stream.push("é".encode()[1:]).text == "é"


@given(
    st.text(alphabet="abé🦔<", max_size=30),
    st.lists(st.text(alphabet="abé🦔<", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_cutting_tokens_anywhere_changes_nothing(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    bounds = [0, *cuts, len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(bounds)]
    ends = [at for at in (text.find(one) for one in stop) if at >= 0]
    texts, stopped = pushed(pieces, stop)
    if not ends:
        assert ("".join(texts), stopped) == (text, False)
    else:
        # Several stops: a later one may be complete first. None of it may ever be seen.
        assert stopped
        assert text.startswith("".join(texts))
        assert not any(one in "".join(texts) for one in stop)


def test_logprobs_come_with_their_text_and_not_with_a_stop() -> None:
    stream = TextStream(["END"])
    entries = [TokenLogprob(raw, -1.0) for raw in (b"a", b"b E", b"N", b"D")]
    out = [stream.push(entry.token, entry) for entry in entries]
    assert [one.text for one in out] == ["a", "b ", "", ""]
    shown = [entry.token for one in out for entry in one.logprobs]
    assert shown == [b"a", b"b E"]
