"""Recovery codes: in place of the second factor, each once. Stored as MACs only."""

import re
import secrets
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from dormouse_control.naming import new_id
from dormouse_control.proofs.models import RecoveryCode
from dormouse_control.sealing import Sealing

CODES = 10
# No letter that looks like another letter or a digit.
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"
_GROUP, _GROUPS = 5, 2
_FORM = re.compile(rf"[{_ALPHABET}]{{{_GROUP * _GROUPS}}}")


def replace_all(session: Session, *, user_id: str, sealing: Sealing) -> list[str]:
    """New codes, which are shown this once; the old ones are worth nothing."""
    remove_all(session, user_id=user_id)
    codes = [_new_code() for _ in range(CODES)]
    session.add_all(
        RecoveryCode(id=new_id("rec"), user_id=user_id, digest=_digest(user_id, code, sealing))
        for code in codes
    )
    session.flush()
    return ["-".join((code[:_GROUP], code[_GROUP:])) for code in codes]


def remove_all(session: Session, *, user_id: str) -> None:
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def use(session: Session, text: str, *, user_id: str, sealing: Sealing, now: datetime) -> bool:
    """Whether it is one of the user's; then never again."""
    code = text.strip().lower().replace("-", "").replace(" ", "")
    if not _FORM.fullmatch(code):
        return False
    used = session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user_id,
            RecoveryCode.digest == _digest(user_id, code, sealing),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.id)
        .execution_options(synchronize_session=False)
    )
    return used is not None


def _new_code() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP * _GROUPS))


def _digest(user_id: str, code: str, sealing: Sealing) -> str:
    return sealing.mac("recovery code", f"{user_id} {code}")
