"""What `dormouse up` tells the person at the terminal. Pure."""

from pathlib import Path

from dormouse_control.settings import Settings


def starting(settings: Settings, log: Path) -> str:
    return f"Dormouse starts. State: {settings.home}  Log: {log}\n"


def ready(settings: Settings, seconds: float) -> str:
    url = settings.base_url
    return f"""
Dormouse is ready at {url} (after {seconds:.1f} s).

  First time:                 dormouse signup --email you@example.org
                              dormouse entitle chat
                              dormouse chat "What is Dormouse?"
  For OpenAI clients:         dormouse keys create my-laptop
                              base_url = "{url}/v1", model = "dormouse-chat"
  What runs, what it cost:    dormouse status, dormouse usage

(`dormouse` is in .venv/bin if you came by `make run`.) Ctrl-C stops everything.
"""


def failed(problem: str, log: Path) -> str:
    return f"\nNot ready yet: {problem}\nThe log says more: {log}\n"


def stopping() -> str:
    return "\nStopping: running calls may end first…\n"
