"""The shape that `prompt` and `input` share: a text, texts, tokens, or lists of tokens."""

from typing import Any, TypeGuard  # JSON

from dormouse_predictors.errors import CallError, invalid

_LARGEST = 2**31 - 1


def read_inputs(value: Any, *, param: str, at_most: int) -> tuple[str | tuple[int, ...], ...]:
    """Raises `CallError` unless `value` is 1 to `at_most` texts or lists of tokens, none empty."""
    if value is None:
        raise CallError(400, "missing_required_parameter", f"{param} is missing.", param=param)
    expected = (
        f"{param} must be a text, a list of tokens, or a list of 1 to {at_most} of either;"
        " none of them empty."
    )
    items = [value] if isinstance(value, str) or _tokens(value) else value
    if not isinstance(items, list) or not items:
        raise invalid(param, expected)
    if len(items) > at_most:
        raise invalid(param, f"{param} has {len(items)} entries. {expected}")
    found: list[str | tuple[int, ...]] = []
    for at, item in enumerate(items):
        if isinstance(item, str) and item:
            found.append(item)
        elif _tokens(item):
            found.append(tuple(item))
        else:
            raise invalid(f"{param}[{at}]" if items is value else param, expected)
    return tuple(found)


def _tokens(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(token) is int and 0 <= token <= _LARGEST for token in value)
    )
