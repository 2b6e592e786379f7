"""What our mails say. Pure; every link begins with the configured address and nothing else."""

from dataclasses import dataclass

from dormouse_control.mail.models import MailKind


@dataclass(frozen=True)
class Message:
    to: str
    subject: str
    text: str


_VERIFY = """Hello,

somebody, most likely you, made a Dormouse account with this address.
To begin, open this link within 24 hours:

  {url}/account/verify#token={token}

or type: dormouse verify {token}

If it was not you, do nothing: without the link the account stays closed.
"""
_TWICE = """Hello,

somebody, perhaps you, tried to make a Dormouse account with this address,
which has one already. Nothing was changed.

If it was you, sign in at {url}, or ask for a new password there:

  {url}/account/reset

If it was not you, there is nothing to do.
"""
_RESET = """Hello,

somebody, most likely you, asked for a new password of your Dormouse account.
To set it, open this link within an hour:

  {url}/account/reset#token={token}

or type: dormouse reset --token {token}

If it was not you, do nothing: your password stays as it is.
"""
_INVITATION = """Hello,

you are invited to Dormouse. To make your account, open this link:

  {url}/account/register#invitation={token}

or type: dormouse signup --email {to} --invitation {token}

The link works once. If you do not know what this is about, do nothing.
"""
_CHANGED = """Hello,

the {about} of your Dormouse account at {url} was changed.

If it was you, all is well. If it was not, set a new password at once:

  {url}/account/reset

and tell whoever runs this platform.
"""
_BUDGET = """Hello,

{about}

The command "dormouse budgets list" shows your budgets, what follows at which
part of them, and when they begin anew.

  {url}
"""

_TEXTS = {
    MailKind.VERIFY_EMAIL: ("Is this your address?", _VERIFY),
    MailKind.REGISTERED_TWICE: ("You have an account already", _TWICE),
    MailKind.RESET_PASSWORD: ("Set a new password", _RESET),
    MailKind.INVITATION: ("You are invited", _INVITATION),
    MailKind.CHANGED: ("Your account was changed", _CHANGED),
    MailKind.BUDGET: ("A budget is being used up", _BUDGET),
}


def write(
    kind: MailKind, *, to: str, url: str, token: str | None = None, about: str | None = None
) -> Message:
    """`url` is the platform's own, from its settings."""
    subject, text = _TEXTS[kind]
    said = about or "account"
    if kind is MailKind.CHANGED:
        said = said.replace("_", " ")
    filled = text.format(url=url.rstrip("/"), to=to, token=token, about=said)
    return Message(to=to, subject=f"Dormouse: {subject}", text=filled)
