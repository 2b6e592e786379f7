"""Which passwords are guessed first, decided from the text alone. Nothing here is about hashing.

Guessers try common passwords, runs (aaaa, 1234), walks over the keyboard, years, and what they know
of the owner; then all of them repeated, put together and padded. So a password is cut into as few
such pieces as possible, and is weak if it is little more than a handful of them. Characters that
are no part of a piece count for themselves, so nothing is demanded of their kind.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from itertools import pairwise

ENOUGH = 6
"""Points. A common word has two, any other piece one, and so has a character of no piece."""

_PRODUCT = ("dormouse",)
_COMMON_WORDS = 10_000
_SHORTEST_PIECE = 3
_LONGEST_WORD = 24
# Of long passwords only both ends are looked at.
_END = 48
_ROWS = (
    "1234567890-=",
    "qwertyuiop[]",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "!@#$%^&*()_+",
    "qwertzuiopü",
    "yxcvbnm,.-",
    "azertyuiop",
    "qsdfghjklm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "1q2w3e4r5t6y7u8i9o0p",
    "a1b2c3d4e5f6g7h8i9j0",
    "qazwsxedcrfvtgbyhnujmikolp",
    "741852963",
    "147258369",
)
_WALKS = _ROWS + tuple(row[::-1] for row in _ROWS)
_YEAR = re.compile(r"(19|20)\d\d")
_WRITTEN = str.maketrans("01345789@$!|+", "oleastbqasilt")
_WRITTEN_ALSO = str.maketrans("01345789@$!|+", "oieastbgasiit")


def weakness(password: str, *, email: str) -> str | None:
    """Why it is soon guessed, as the end of a sentence; None if it is not."""
    text = password.casefold()
    if not text.strip():
        return "it is nothing but spaces"
    if text.strip() == email:
        return "it is your e-mail address"
    seen = text if len(text) <= 2 * _END else text[:_END] + text[-_END:]
    known = _known_words(email)
    if points(seen, known) >= ENOUGH:
        return None
    return "it is made of common passwords, runs, repetitions, or your e-mail address"


def points(text: str, known: frozenset[str]) -> int:
    """The least that it can be cut into, exact below `ENOUGH`. `known`: the owner's own words."""
    forms = {text, text.translate(_WRITTEN), text.translate(_WRITTEN_ALSO)}
    least = list(range(len(text) + 1))
    for end in range(1, len(text) + 1):
        least[end] = min(least[end], least[end - 1] + 1)
        for start in range(end - _SHORTEST_PIECE, -1, -1):
            # What comes to enough anyway need not be cut: that keeps long texts cheap.
            if least[start] + 1 < min(least[end], ENOUGH):
                cost = min(_cost(form, start, end, known) for form in forms)
                least[end] = min(least[end], least[start] + cost)
    return least[-1]


def _cost(text: str, start: int, end: int, known: frozenset[str]) -> int:
    piece = text[start:end]
    if (
        piece in known
        or _is_run(piece)
        or any(piece in walk for walk in _WALKS)
        or _YEAR.fullmatch(piece)
        or text.find(piece) < start
    ):
        return 1
    if len(piece) <= _LONGEST_WORD and (piece in _common() or piece[::-1] in _common()):
        return 2
    return len(piece)


def _is_run(piece: str) -> bool:
    step = ord(piece[1]) - ord(piece[0])
    return abs(step) <= 1 and all(
        ord(after) - ord(before) == step for before, after in pairwise(piece)
    )


def _known_words(email: str) -> frozenset[str]:
    local, _, domain = email.partition("@")
    words = {email, local, domain, *re.split(r"[\W_]+", email), *_PRODUCT}
    return frozenset(word for word in words if len(word) >= _SHORTEST_PIECE)


@cache
def _common() -> frozenset[str]:
    words: list[str] = _lists()["passwords"][:_COMMON_WORDS]
    return frozenset(word for word in words if len(word) >= _SHORTEST_PIECE)


def _lists() -> Mapping[str, list[str]]:
    """The package's lists alone: importing it would take 12 MB for as long as the process lives."""
    package = find_spec("zxcvbn")
    assert package is not None
    assert package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    loader = SourceFileLoader("frequency_lists", f"{folder}/frequency_lists.py")
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)  # in no list of modules, so it is gone when this returns
    loader.exec_module(module)
    found: Mapping[str, list[str]] = module.FREQUENCY_LISTS
    return found
