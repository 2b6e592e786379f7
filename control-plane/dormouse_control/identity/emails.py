"""One form of an e-mail address, so that nobody registers another's under a different spelling."""

import re
import unicodedata

from dormouse_control.errors import InvalidValue

LONGEST = 254
_FORM = re.compile(r"[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)*")


def canonical(email: str) -> str:
    """Raises `InvalidValue`. Whether mail arrives there is not known here."""
    found = folded(email)
    if len(found) > LONGEST or not _FORM.fullmatch(found) or not found.isprintable():
        raise InvalidValue("This is not an e-mail address.", param="email")
    return found


def folded(email: str) -> str:
    """The form to look for; folding can undo normalising, so that is done again."""
    once = unicodedata.normalize("NFKC", email.strip()).casefold()
    return unicodedata.normalize("NFKC", once)
