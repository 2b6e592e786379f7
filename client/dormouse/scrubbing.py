"""Takes secrets out of log records: values of secret names, and what looks like a credential."""

import re
from collections.abc import Mapping
from typing import Any  # a log record holds values of any shape

HIDDEN = "[hidden]"

# Ends with, so that `key_id` and `prompt_tokens` stay readable.
_SECRET_NAMES = re.compile(
    r"(^|[^a-z])(authorization|password|password_hash|token|key|secret|cookie|credentials)$",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"dm_[0-9A-Za-z]{8,}"  # API keys
    r"|\$argon2id\$[^\s'\",)]+"  # password hashes
    r"|eyJ[\w-]+\.[\w-]+(\.[\w-]*)?"  # JSON web tokens
    r"|ses_[0-9a-z]{26}\.\d+\.[\w-]+"  # refresh tokens
    r"|(ott|inv)_[0-9a-z]{26}\.[\w-]+"  # one-time tokens and invitations
    r"|(?<=://)[^\s/:@]+:[^\s@]+(?=@)"  # user:password of a URL
    r"|(?<=bearer )[\w.~+/=-]+",
    re.IGNORECASE,
)
_DEEPEST = 6


def scrubbed(event: Mapping[str, Any]) -> dict[str, Any]:
    """The record without its secrets."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    return HIDDEN if value is not None and _SECRET_NAMES.search(name) else _scrubbed(value, 0)


def _scrubbed(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return "[too deep]"
    if isinstance(value, str):
        return _SECRET_VALUES.sub(HIDDEN, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _SECRET_NAMES.search(str(key)) else _scrubbed(found, depth + 1)
            for key, found in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(found, depth + 1) for found in value]
    return _SECRET_VALUES.sub(HIDDEN, str(value))
