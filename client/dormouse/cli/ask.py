"""`dormouse chat` and `dormouse embed`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.answers import Inference
from dormouse.cli.failures import explain
from dormouse.cli.options import BaseUrl, Json, Model, Priority, open_client
from dormouse.cli.output import emit, printable, say
from dormouse.cli.target import Target, choose
from dormouse.errors import PermissionDeniedError

if TYPE_CHECKING:
    from dormouse.client import Dormouse
    from dormouse.resources.chat import ChatOptions

SHOWN_NUMBERS = 6


def chat(
    text: Annotated[
        str | None, typer.Argument(help="Without it: stdin, or a conversation (Ctrl-D ends it).")
    ] = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option("--system", help="How it should answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, max=2, help="0.2 is dry, 0.8 varied.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")
    ] = None,
    priority: Priority = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Ask a model; the answer appears as it is made."""
    converse = text is None and sys.stdin.isatty()
    if converse and json:
        raise typer.BadParameter("--json needs a TEXT, or one on stdin")
    question = None if converse else _given(text)
    with open_client(base_url) as client:
        target = choose(client, "chat.completions", model)
        options: ChatOptions = {
            "model": target.model,
            "messages": [{"role": "system", "content": system}] if system else [],
            "temperature": temperature,
            "max_tokens": max_tokens,
            "priority": priority,  # type: ignore[typeddict-item]  # the option's range sees to it
        }
        with _refusals_of(target):
            if question is None:
                _converse(client, target, options)
            elif json:
                _emit(client.chat.completions.create(**_asking(options, question)))
            else:
                _answer(client, target, _asking(options, question))


def embed(
    text: Annotated[str | None, typer.Argument(help="Without it: stdin.")] = None,
    model: Model = None,
    priority: Priority = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Turn a text into a vector; --json prints all of it."""
    given = _given(text)
    with open_client(base_url) as client:
        target = choose(client, "embeddings", model)
        with _refusals_of(target):
            answer = client.embeddings.create(
                model=target.model,
                input=given,
                priority=priority,  # type: ignore[arg-type]  # the option's range sees to it
            )
    if json:
        _emit(answer)
        return
    vector = answer.data[0].embedding
    shown = ", ".join(f"{number:.4f}" for number in vector[:SHOWN_NUMBERS])
    more = ", …" if len(vector) > SHOWN_NUMBERS else ""
    typer.echo(f"[{shown}{more}] {len(vector)} numbers")


def _given(text: str | None) -> str:
    if text is None and sys.stdin.isatty():
        raise typer.BadParameter("give a TEXT, or one on stdin")
    given = sys.stdin.read() if text is None else text
    if not given.strip():
        raise typer.BadParameter("the text is empty")
    return given


def _asking(options: "ChatOptions", question: str) -> "ChatOptions":
    return {**options, "messages": [*options["messages"], {"role": "user", "content": question}]}


def _converse(client: "Dormouse", target: Target, options: "ChatOptions") -> None:
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() its arrow keys

    say(f"{target.model}: Ctrl-D ends the conversation.")
    while True:
        try:
            question = input("> ")
        except EOFError:
            typer.echo()
            return
        if question.strip():
            asked = _asking(options, question)
            answer = {"role": "assistant", "content": _answer(client, target, asked)}
            options = {**options, "messages": [*asked["messages"], answer]}


def _answer(client: "Dormouse", target: Target, options: "ChatOptions") -> str:
    """Print the answer as it comes; returns it whole."""
    from dormouse.cli.waking import Waking

    parts: list[str] = []
    with Waking(client, target.service) as waking:
        try:
            with client.chat.completions.create(stream=True, **options) as stream:
                for chunk in stream:
                    content = chunk.choices[0].delta.content if chunk.choices else None
                    if content:
                        waking.stop()
                        parts.append(content)
                        # color: a pipe gets what the model said, to the letter.
                        typer.echo(_shown(content), nl=False, color=True)
        finally:
            if parts:
                typer.echo()
    return "".join(parts)


def _shown(content: str) -> str:
    return printable(content) if sys.stdout.isatty() else content


def _emit(answer: Inference) -> None:
    emit(
        {
            **answer.to_dict(),
            "request_id": answer.request_id,
            "model_used": answer.model_used,
            "cold_start_ms": answer.cold_start_ms,
        }
    )


@contextmanager
def _refusals_of(target: Target) -> Iterator[None]:
    """Says which service one is not entitled to, which the error itself does not know."""
    try:
        yield
    except PermissionDeniedError as error:
        say(explain(error, service=target.service.id if target.service else "SERVICE"))
        raise typer.Exit(1) from error
