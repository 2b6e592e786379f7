"""What the control plane does at its start, and from time to time: nobody asks for it."""

import asyncio
import itertools
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from dormouse_control.audit import operations as audit
from dormouse_control.awake import operations as awake
from dormouse_control.budgets import watching
from dormouse_control.idempotency import operations as idempotency
from dormouse_control.identity import revocations
from dormouse_control.leases import ending
from dormouse_control.mail import outbox
from dormouse_control.proofs import attempts, tokens
from dormouse_control.requests import claims
from dormouse_control.restores import operations as restores
from dormouse_control.signing_keys import operations as signing_keys
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

EVERY_SECONDS = 60.0
_ROUNDS_OF_AN_HOUR = 60
RESTORED = "restored"
"""A file of this name in `home` says that the database is an older copy, where nothing else can."""


def begin(platform: Platform) -> None:
    """Before anybody is answered."""
    _settle(platform)
    platform.journal.prune(now=platform.clock().timestamp())
    tend(platform)
    note_audit_head(platform)


async def keep(platform: Platform) -> None:
    """Never returns."""
    for number in itertools.count(1):
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await run_in_threadpool(tend, platform)
            if number % _ROUNDS_OF_AN_HOUR == 0:
                await run_in_threadpool(note_audit_head, platform)
        except (SQLAlchemyError, OSError, ValueError):
            log.exception("housekeeping_failed")


def tend(platform: Platform) -> None:
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        revocations.prune(session, now=now)
        idempotency.prune(session, now=now)
        tokens.prune(session, now=now)
        outbox.prune(session, now=now)
        attempts.prune(session, now=now)
        watching.prune(session, now=now)
        claims.prune(session, kept=timedelta(hours=platform.settings.async_kept_hours), now=now)
        signing_keys.tend(
            session,
            platform.settings.keys_folder,
            days=platform.settings.signing_key_days,
            now=now,
        )
    ending.sweep(platform.database.sessions, now=now)
    # What a control plane that was killed had begun to share.
    awake.share_all(platform.database.sessions, now=now)


def note_audit_head(platform: Platform) -> None:
    """In the log, where who changes the database does not reach it."""
    with platform.database.reads() as reading:
        head = audit.head(reading)
    log.info("audit_head", head=f"{head.seq}:{head.hash}")


def _settle(platform: Platform) -> None:
    told = platform.settings.home / RESTORED
    with platform.database.sessions.begin() as session:
        if not told.exists() and not restores.is_older(session, platform.journal.marks()):
            return
        found = restores.settle(
            session, platform.journal, sealing=platform.sealing, now=platform.clock()
        )
        claims.cancel_all(session, now=platform.clock())
    told.unlink(missing_ok=True)
    log.warning("database_restored", sessions=found.sessions, users=found.users, keys=found.keys)
