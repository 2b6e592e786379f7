"""Where a browser may be sent after a sign-in: pages of ours, and programs on its own machine."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from dormouse_control.errors import InvalidValue

LONGEST = 500
# What may stand is listed, not what may not: browsers and proxies read everything else in several
# ways. So no percent sign in a path, no empty segment, no backslash, no user, no fragment.
_PATH = r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?)?"
_QUERY = r"(?:\?[A-Za-z0-9._~=&+%-]*)?"
_OWN = re.compile(_PATH + _QUERY, re.ASCII)
# A program that listens on the browser's machine (RFC 8252, 7.3).
_PROGRAM = re.compile(
    rf"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{{0,4}})(?:{_PATH}{_QUERY})?", re.ASCII
)


def check(redirect: str) -> str:
    """The same text. Raises `InvalidValue`."""
    program = _PROGRAM.fullmatch(redirect)
    allowed = int(program[1]) <= 65535 if program else _OWN.fullmatch(redirect) is not None
    if len(redirect) > LONGEST or not allowed:
        raise InvalidValue(
            "redirect: must be a path of this platform (/…) or http://127.0.0.1:PORT/….",
            param="redirect",
        )
    return redirect


def with_result(redirect: str, result: dict[str, str]) -> str:
    """The checked address with the result in its query; it replaces what has the same name."""
    address = urlsplit(redirect)
    sent = parse_qsl(address.query, keep_blank_values=True)
    kept = [(name, value) for name, value in sent if name not in ("code", "error")]
    return address._replace(query=urlencode([*kept, *result.items()])).geturl()
