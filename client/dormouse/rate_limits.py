"""The `x-ratelimit-*` headers that OpenAI's clients read, from one value of the authorizer.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

import re

HEADER = b"x-dormouse-limits"
"""In which the authorizer tells a predictor the value."""

_NAMES = [
    f"x-ratelimit-{part}-{kind}".encode()
    for kind in ("requests", "tokens")
    for part in ("limit", "remaining", "reset")
]
_PART = re.compile(rb"[0-9a-z.]{1,32}")


def limit_headers(value: bytes | None) -> list[tuple[bytes, bytes]]:
    """Of "limit,remaining,reset" of requests and then of tokens; what is empty has no header."""
    parts = value.split(b",") if value else []
    if len(parts) != len(_NAMES):
        return []
    return [(name, part) for name, part in zip(_NAMES, parts, strict=True) if _PART.fullmatch(part)]
