"""One form of an e-mail address, so that nobody registers another's under a different spelling."""

import re
import unicodedata

from dormouse_control.errors import InvalidValue

LONGEST = 254
# Not all that mail allows: of "a,b@x" or "a<b@y" programs disagree who gets the mail, and "=?"
# begins a word that they decode into another (RFC 2047).
_FORM = re.compile(
    r"""(?!.*=\?)[^\s@()<>[\]:;,\\"]{1,64}@[^\s@.()<>[\]:;,\\"]+(\.[^\s@.()<>[\]:;,\\"]+)*"""
)


def canonical(email: str) -> str:
    """Raises `InvalidValue`. Whether mail arrives there is not known here."""
    found = folded(email)
    if len(found) > LONGEST or not _FORM.fullmatch(found) or not found.isprintable():
        raise InvalidValue("This is not an e-mail address.", param="email")
    return found


def folded(email: str) -> str:
    """The form to look for; folding can undo normalising, so that is done again."""
    once = unicodedata.normalize("NFKC", email.strip()).casefold()
    local, at, domain = unicodedata.normalize("NFKC", once).rpartition("@")
    return local + at + _in_ascii(domain)


def _in_ascii(domain: str) -> str:
    """Names with other letters have two forms; mail servers and we use this one."""
    try:
        return domain if domain.isascii() else domain.encode("idna").decode()
    except UnicodeError:
        return domain
