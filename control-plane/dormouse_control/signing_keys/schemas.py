"""Wire types of signing keys."""

from datetime import datetime

from dormouse_control.keys import Purpose, State
from dormouse_control.wire import Answer


class SigningKeyRead(Answer):
    """`since`: when it got into its state. Private halves are never shown."""

    kid: str
    purpose: Purpose
    state: State
    since: datetime
