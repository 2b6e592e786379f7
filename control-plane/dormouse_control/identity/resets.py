"""Rules of a forgotten password: who reads the mail of an account sets a new one."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.identity import apikeys, revocations, sessions, verification
from dormouse_control.identity.models import RevocationKind, User
from dormouse_control.identity.passwords import check_new
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.proofs import attempts, second_factor, tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.wiring import Platform


def confirm(
    session: Session, text: str, *, password: str, platform: Platform, actor: Actor
) -> None:
    """Raises `InvalidOneTimeToken` or `InvalidValue`; a bad password does not use the token up.

    Hashes before the transaction begins: the database must not wait for that.
    """
    kind, now = TokenKind.RESET_PASSWORD, platform.clock()
    with platform.database.reads() as reading:
        seen = tokens.peek(reading, text, kind, sealing=platform.sealing, now=now)
        owner = reading.get_one(User, seen.user_id)
    alone = platform.settings.password_min_length
    least = second_factor.shortest_password(owner, alone=alone)
    check_new(password, email=str(seen.bound), min_length=least)
    password_hash = platform.passwords.hash(password)
    token = tokens.redeem(session, text, kind, sealing=platform.sealing, now=platform.clock())
    user, first = verification.mark(session, token, mode=platform.settings.registration, now=now)
    if first:
        # Until now it could have been anybody's account: who made its keys is not known.
        apikeys.revoke_all(session, actor=actor, user_id=user.id, now=now)
    # Again: the second factor may have gone while the password was hashed.
    least = second_factor.shortest_password(user, alone=alone)
    check_new(password, email=str(user.email), min_length=least)
    changed = update(User).where(User.id == user.id).values(password_hash=password_hash)
    session.execute(changed)
    # Whoever was half-way into the account with the old password starts again.
    tokens.end_all(session, user_id=user.id, now=now)
    address = str(user.email)
    attempts.clear(session, email=address, sealing=platform.sealing)
    outbox.enqueue(
        session, MailKind.CHANGED, address=address, user_id=user.id, about="password", now=now
    )
    sessions.end_all(session, user_id=user.id, now=now, actor=actor)
    # Also where no session ended: a restore must not bring the old password back.
    revocations.record(session, RevocationKind.USER, user.id, now=now)
    record(session, "password.reset", actor=actor, subject=user.id, now=now)
