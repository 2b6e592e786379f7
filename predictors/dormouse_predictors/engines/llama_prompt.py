"""From a conversation to tokens, by the chat template that the model's file carries.

The template's control tokens are the only ones that reach the model: in what people wrote, the text
of a control token is just text. It is spelled in private characters while the template runs, and
turned into ordinary tokens afterwards.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol  # templates see plain dicts

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dormouse_predictors.base import Message
from dormouse_predictors.errors import CallError, invalid

# Plane 16 is for private use. 0x100000 + code point stands for a character of the BMP.
_PLANE = 0x100000
_PRIVATE = re.compile("([\U00100000-\U0010ffff]+)")


class Vocabulary(Protocol):
    def tokenize(self, text: str, *, special: bool) -> list[int]: ...
    def control_texts(self) -> list[str]: ...
    def begin_text(self) -> str: ...
    def end_text(self) -> str: ...
    def begin_token(self) -> int | None: ...


class TemplateRefused(Exception):
    """The template itself says that it cannot take this conversation."""


class ChatPrompt:
    def __init__(self, template: str, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        controls = [re.escape(text) for text in vocabulary.control_texts()]
        self._control = re.compile("|".join(controls) or "(?!)")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._template = environment.from_string(template)

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Raises `CallError` if the template refuses the conversation."""
        rendered = self._render(messages, self._defang)
        shielded = self._render(messages, _spell)
        if self._controls(rendered) != self._controls(shielded):
            # The template cut or joined texts so that a control token appeared: trust none of it.
            rendered = shielded
        found: list[int] = []
        for part in _PRIVATE.split(rendered):
            private = bool(_PRIVATE.match(part))
            text = _unspell(part) if private else part
            found += self._vocabulary.tokenize(text, special=not private)
        begin = self._vocabulary.begin_token()
        return found if begin is None or found[:1] == [begin] else [begin, *found]

    def _render(self, messages: Sequence[Message], spell: "_Spelling") -> str:
        try:
            return self._run(messages, spell)
        except TemplateRefused as refused:
            merged = _without_system(messages)
            if merged is None:
                raise invalid("messages", f"The model's chat template says: {refused}") from refused
        try:
            return self._run(merged, spell)
        except TemplateRefused as refused:
            raise invalid("messages", f"The model's chat template says: {refused}") from refused

    def _run(self, messages: Sequence[Message], spell: "_Spelling") -> str:
        try:
            return self._template.render(
                messages=[_plain(message, spell) for message in messages],
                add_generation_prompt=True,
                bos_token=self._vocabulary.begin_text(),
                eos_token=self._vocabulary.end_text(),
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise CallError(
                400,
                "invalid_value",
                "The model's chat template cannot take these messages.",
                param="messages",
            ) from error

    def _defang(self, text: str) -> str:
        kept = _PRIVATE.sub(lambda found: "\ufffd" * len(found[0]), text)
        return self._control.sub(lambda found: _spell(found[0]), kept)

    def _controls(self, rendered: str) -> list[str]:
        return [str(found) for found in self._control.findall(rendered)]


class _Spelling(Protocol):
    def __call__(self, text: str) -> str: ...


def _spell(text: str) -> str:
    """In private characters; blanks stay, so that a template that trims still can."""
    return "".join(
        char if char.isspace() else chr(_PLANE + ord(char)) if ord(char) < 0xFFFE else "\ufffd"
        for char in text
    )


def _unspell(text: str) -> str:
    return "".join(chr(ord(char) - _PLANE) for char in text)


def _plain(message: Message, spell: _Spelling) -> dict[str, Any]:
    found = {"role": message.role, "content": spell(message.content)}
    return found if message.name is None else found | {"name": spell(message.name)}


def _without_system(messages: Sequence[Message]) -> list[Message] | None:
    """For templates that know no system role: its text opens the first user message."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if not system or not rest or rest[0].role != "user":
        return None
    return [Message("user", f"{system}\n\n{rest[0].content}", rest[0].name), *rest[1:]]


def _raise(message: str) -> NoReturn:
    raise TemplateRefused(message)


def _now(shape: str) -> str:
    return datetime.datetime.now(datetime.UTC).strftime(shape)
