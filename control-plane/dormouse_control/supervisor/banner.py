"""What `dormouse up` tells the person at the terminal. Pure."""

from pathlib import Path

from dormouse_control.supervisor.facts import Facts

DEFAULT_URL = "http://127.0.0.1:5000"
_INDENT = " " * 30


def starting(home: Path, log: Path) -> str:
    return f"Dormouse starts. State: {home}  Log: {log}\n"


def ready(facts: Facts, seconds: float, first_administrator: str | None = None) -> str:
    """`first_administrator` is the one-time token that makes one, if there is none yet."""
    url = facts.public_url
    elsewhere = "" if url == DEFAULT_URL else f"export DORMOUSE_BASE_URL={url}\n{_INDENT}"
    if facts.certificate is not None:
        elsewhere += f"export SSL_CERT_FILE={facts.certificate}\n{_INDENT}"
    administrator = (
        f"\n  There is no administrator:  dormouse admin create --token {first_administrator}"
        if first_administrator
        else ""
    )
    return f"""
Dormouse is ready at {url} (after {seconds:.1f} s).

  First time:                 {elsewhere}dormouse signup --email you@example.org
                              dormouse entitle chat
                              dormouse chat "What is Dormouse?"
  For OpenAI clients:         dormouse keys create my-laptop
                              base_url = "{url}/v1", model = "dormouse-chat"
  What runs, what it cost:    dormouse status, dormouse usage{administrator}

(`dormouse` is in .venv/bin if you came by `make run`.) Ctrl-C stops everything.
"""


def failed(problem: str, log: Path) -> str:
    return f"\nNot ready yet: {problem}\nThe log says more: {log}\n"


def stopping() -> str:
    return "\nStopping: running calls may end first…\n"


def ended(name: str, code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"The {name} {how}; it is started again.\n"


def unknown(names: list[str]) -> str:
    """Names of environment variables that look like settings and are none."""
    return f"There is no setting {', '.join(names)}; it is ignored.\n"
