"""Names of fields: older ones that mean the same, and what somebody may have meant."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args  # JSON

from pydantic import BaseModel

from dormouse_predictors.errors import invalid

# What OpenAI's first API called it.
_OLDER = {"engine": "model"}
# What others call it; too different to be taken for a slip.
_ELSEWHERE = {
    "input": "prompt",
    "max_gen_len": "max_tokens",
    "max_length": "max_tokens",
    "max_new_tokens": "max_tokens",
    "messages": "prompt",
    "model_id": "model",
    "model_name": "model",
    "n_predict": "max_tokens",
    "num_ctx": "max_tokens",
    "num_gpu": "n_gpu_layers",
    "num_predict": "max_tokens",
    "num_thread": "n_threads",
    "prompt": "messages",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
    "text": "input",
    "threads": "n_threads",
}


def with_today_s_names(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises `CallError` for an old and a new name that say different things."""
    if not _OLDER.keys() & document.keys():
        return document
    found = dict(document)
    for old, new in _OLDER.items():
        value = found.pop(old, None)
        if value is None:
            continue
        if found.setdefault(new, value) != value:
            raise invalid(old, f"{old} is an older name of {new}: send one of them.")
    return found


def meant(name: str, known: Iterable[str]) -> str:
    """A sentence that names the field that `name` was probably meant to be; empty if none is."""
    known = set(known)
    other = _ELSEWHERE.get(name)
    close = [other] if other in known else difflib.get_close_matches(name, known, 1, 0.75)
    return f" Did you mean {close[0]}?" if close else ""


def fields_at(kind: type[BaseModel], loc: Iterable[int | str]) -> set[str]:
    """The names of the fields at the place `loc` in a body of `kind`."""
    for part in loc:
        if isinstance(part, int):
            continue
        inner = _model_in(kind.model_fields[part].annotation) if part in kind.model_fields else None
        if inner is None:
            return set()
        kind = inner
    return set(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
