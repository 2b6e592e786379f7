"""Rules of the first administrator, and of those whom the owner of the machine makes.

Nobody becomes one by coming first: it takes the one-time token in a file of this machine, or the
socket that only the owner of these files can open.
"""

import os
from datetime import timedelta
from pathlib import Path

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.db import insert_new, take_turn
from dormouse_control.errors import EmailTaken, NotFound
from dormouse_control.identity import emails, revocations
from dormouse_control.identity.models import RevocationKind, Role, User, UserStatus
from dormouse_control.identity.operations import FIRST_TIER
from dormouse_control.identity.passwords import check_new
from dormouse_control.identity.registration import Account
from dormouse_control.naming import new_id
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.wiring import Platform

LIFE = timedelta(hours=24)
_TURN = "first administrator"


def announce(platform: Platform) -> None:
    """Put a new token into its file if there is no administrator, else see that there is none."""
    file, now = platform.settings.first_administrator_file, platform.clock()
    with platform.database.sessions.begin() as session:
        take_turn(session, _TURN)
        if _exist(session):
            file.unlink(missing_ok=True)
            return
        kind = TokenKind.ADMINISTRATOR
        tokens.end_all(session, user_id=None, kind=kind, now=now)
        issued = tokens.issue(session, kind, life=LIFE, now=now)
    _write(file, tokens.write(issued.id, kind.value, platform.sealing))


def forget(platform: Platform) -> None:
    """There is one now: the file is of no use any more."""
    platform.settings.first_administrator_file.unlink(missing_ok=True)


def make_first(
    session: Session, text: str, *, email: str, password: str, platform: Platform, actor: Actor
) -> Account:
    """Raises `InvalidOneTimeToken`, also if there is an administrator already."""
    kind, sealing = TokenKind.ADMINISTRATOR, platform.sealing
    with platform.database.reads() as reading:
        tokens.peek(reading, text, kind, sealing=sealing, now=platform.clock())
    email, password_hash = _checked(platform, email, password)
    take_turn(session, _TURN)
    tokens.redeem(session, text, kind, sealing=sealing, now=platform.clock())
    if _exist(session):
        raise tokens.refusal()
    return _insert(session, email, password_hash, platform=platform, actor=actor, by="token")


def make(session: Session, *, email: str, password: str, platform: Platform) -> Account:
    """A new administrator, wanted by the owner of the machine."""
    email, password_hash = _checked(platform, email, password)
    return _insert(session, email, password_hash, platform=platform, actor=Actor(), by="local")


def promote(session: Session, *, email: str, platform: Platform) -> Account:
    """An account becomes an administrator's. Raises `NotFound` if none is active there."""
    now = platform.clock()
    user = session.scalar(
        update(User)
        .where(User.email == emails.folded(email), User.status == UserStatus.ACTIVE)
        .values(role=Role.ADMINISTRATOR)
        .returning(User)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if user is None:
        raise NotFound("There is no active account with this address. Give a password to make one.")
    revocations.record(session, RevocationKind.USER, user.id, now=now)
    details = {"role": user.role.value, "by": "local"}
    record(session, "user.change", actor=Actor(), subject=user.id, now=now, details=details)
    return Account(id=user.id, email=str(user.email), status=user.status)


def _exist(session: Session) -> bool:
    governs = (User.role == Role.ADMINISTRATOR, User.status == UserStatus.ACTIVE)
    return bool(session.scalar(select(exists().where(*governs))))


def _checked(platform: Platform, email: str, password: str) -> tuple[str, str]:
    """The canonical address and the hash, made before a transaction begins."""
    email = emails.canonical(email)
    check_new(password, email=email, min_length=platform.settings.password_min_length)
    return email, platform.passwords.hash(password)


def _insert(
    session: Session, email: str, password_hash: str, *, platform: Platform, actor: Actor, by: str
) -> Account:
    now = platform.clock()
    id = new_id("usr")
    row = {
        "id": id,
        "email": email,
        "password_hash": password_hash,
        "status": UserStatus.ACTIVE,
        "role": Role.ADMINISTRATOR,
        "tier": FIRST_TIER,
        "created_at": now,
    }
    inserted = insert_new(session, User, [row], unique=(User.email,), returning=User.id)
    if not inserted:
        raise EmailTaken("This e-mail address is registered already.", param="email")
    details = {"role": Role.ADMINISTRATOR.value, "by": by}
    record(session, "user.register", actor=actor, subject=id, now=now, details=details)
    return Account(id=id, email=email, status=UserStatus.ACTIVE)


def _write(file: Path, token: str) -> None:
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
        new.write(token + "\n")
    draft.replace(file)
