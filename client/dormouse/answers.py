"""Turns JSON into typed objects with attributes, and keeps what it does not know.

Deliberately not pydantic: an import of `dormouse` stays cheap, and a server newer than this client
may send fields that are not declared here; they are attributes too.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from typing import (  # Any: JSON
    TYPE_CHECKING,
    Any,
    Generic,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from dormouse.errors import UnexpectedAnswerError

A = TypeVar("A", bound="Answer")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """JSON of the server's. `to_dict()` gives it as it came."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return dict(self.raw) if self.raw else _without_raw(asdict(self))

    def to_json(self, *, indent: int | None = 2) -> str:
        import json

        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    # The names that programs written for OpenAI's client use.
    model_dump = to_dict
    model_dump_json = to_json

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raw = self.__dict__.get("raw", {})
            if name in raw:
                return raw[name]
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, kw_only=True)
class Inference(Answer):
    """An answer of a model. What came in its headers is here too."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def request_id(self) -> str | None:
        """The call's id in logs and in the usage list."""
        return self.headers.get("x-request-id")

    @property
    def model_used(self) -> str | None:
        """The model that really answered, where an alias was asked."""
        return self.headers.get("x-dormouse-model")

    @property
    def cold_start_ms(self) -> int | None:
        """How long the call waited for the model to wake; None if it was awake."""
        return whole_number(self.headers.get("x-dormouse-cold-start-ms"))


@dataclass(frozen=True, kw_only=True)
class Page(Answer, Generic[T]):
    """One page of a list. Iterating goes on over the following pages too."""

    items: list[T]
    next: str | None = None
    turn: "Callable[[str], Page[T]] | None" = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[T]:
        yield from self.items
        if self.next is not None and self.turn is not None:
            yield from self.turn(self.next)


def build(kind: type[A], data: object, **more: object) -> A:
    """Raises `UnexpectedAnswerError` if `data` is not what `kind` needs."""
    if not isinstance(data, dict):
        raise UnexpectedAnswerError(f"expected a JSON object for {kind.__name__}")
    hashable: type = kind  # which mypy doubts of type[A]
    try:
        values = {
            name: convert(data[name]) if name in data else default()
            for name, convert, default in _plan(hashable)
            if name not in more
        }
    except TypeError as error:
        raise UnexpectedAnswerError(f"{kind.__name__} in an unknown form: {error}") from error
    return kind(raw=data, **values, **more)


def build_page(kind: type[A], data: object, *, turn: Callable[[str], Page[A]]) -> Page[A]:
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        raise UnexpectedAnswerError(f"expected a list of {kind.__name__}")
    items = [build(kind, item) for item in data["items"]]
    return Page(items=items, next=data.get("next"), turn=turn, raw=data)


def whole_number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


Convert = Callable[[Any], Any]


@cache
def _plan(kind: type[Any]) -> list[tuple[str, Convert, Callable[[], Any]]]:
    hints = get_type_hints(kind)
    return [
        (each.name, _converter(hints[each.name]), _default(kind, each))
        for each in fields(kind)
        if each.name not in ("raw", "headers", "turn")
    ]


def _converter(hint: Any) -> Convert:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Answer):
        return lambda value: build(hint, value)
    if origin in (Union, types.UnionType):
        (inner,) = (_converter(each) for each in arguments if each is not types.NoneType)
        return inner if inner is _as_is else lambda value: None if value is None else inner(value)
    if origin is list:
        inner = _converter(arguments[0])
        # Lists of plain values (a vector, or its base64 where asked for) stay as they are.
        return inner if inner is _as_is else lambda value: [inner(each) for each in _listed(value)]
    return _as_is


def _as_is(value: Any) -> Any:
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


def _default(kind: type[Any], each: Any) -> Callable[[], Any]:
    if each.default is not MISSING:
        return lambda: each.default
    if each.default_factory is not MISSING:
        return each.default_factory  # type: ignore[no-any-return]  # dataclasses types it Any

    def missing() -> Any:
        raise UnexpectedAnswerError(f"{kind.__name__} without {each.name!r}")

    return missing


def _without_raw(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = ("raw", "headers", "turn")
        return {name: _without_raw(each) for name, each in value.items() if name not in hidden}
    return [_without_raw(each) for each in value] if isinstance(value, list) else value
