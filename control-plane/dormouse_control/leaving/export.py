"""All that is stored about a user, as one archive: no hashes, no secrets, and nobody else's data.

Rows are read and written one after another, so a million calls need no more memory than one.
"""

import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any  # rows as JSON

from sqlalchemy import Select, literal, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from dormouse_control.audit.models import AuditEntry
from dormouse_control.budgets.models import SetBudget
from dormouse_control.entitlements.models import Entitlement
from dormouse_control.groups.models import Group, GroupMember
from dormouse_control.identity.models import ApiKey, User, UserSession
from dormouse_control.invitations.models import Invitation
from dormouse_control.oidc.models import OidcIdentity
from dormouse_control.requests import operations as requests
from dormouse_control.requests.models import AsyncRequest, BodyPart
from dormouse_control.usage.models import UsageEntry
from dormouse_control.webhooks.models import WebhookDelivery

_AT_ONCE = 1000
_README = """This is all that this installation of Dormouse has stored about you.

account.json       your account
sessions.json      where and when you signed in
keys.json          your API keys, without the keys themselves, of which only a hash is stored
budgets.json       how much your calls may cost, as set for you or your keys
entitlements.json  which services you may call, or have asked for
groups.json        the groups that you are in
identities.json    your accounts at OpenID providers that you sign in with
invitations.json   invitations that you made, and the one that you came with
webhooks.json      what is told to the addresses that you gave with asynchronous requests
requests.jsonl     your asynchronous requests of the last day, with what you sent and got
usage.jsonl        your calls of models, one a line; what you sent and got is stored of
                   asynchronous ones only
audit.jsonl        changes that you made or that were made to what is yours, one a line

Times are UTC. Costs are in billionths of the currency. Your password and the secret of a second
factor are stored so that nobody can read them, and are not in here.
"""


def write(reading: Session, file: IO[bytes], *, user_id: str, now: datetime) -> None:
    """A ZIP archive."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _text(archive, "README.txt", _README, now=now)
        for name, rows in _lists(user_id).items():
            items = list(_rows(reading, rows))
            content = items[0] if name == "account" else items
            _text(archive, f"{name}.json", json.dumps(content, indent=2) + "\n", now=now)
        _lines(archive, "requests.jsonl", _requests(reading, user_id), now=now)
        _lines(archive, "usage.jsonl", _rows(reading, _usage(user_id)), now=now)
        _lines(archive, "audit.jsonl", _audit(reading, user_id), now=now)


def _lists(user_id: str) -> dict[str, Select[Any]]:
    invited = or_(Invitation.created_by == user_id, Invitation.used_by == user_id)
    mine = union_all(select(literal(user_id)), select(ApiKey.id).where(ApiKey.user_id == user_id))
    groups = select(Group.id, Group.name, GroupMember.added_at).join(
        GroupMember, GroupMember.group_id == Group.id
    )
    return {
        "account": _all_but(User, "password_hash", "totp_sealed", "totp_last_step").where(
            User.id == user_id
        ),
        "sessions": _all_but(UserSession, "seq").where(UserSession.user_id == user_id),
        "keys": _all_but(ApiKey, "sha256").where(ApiKey.user_id == user_id),
        "budgets": _all_but(SetBudget, "created_by").where(SetBudget.subject_id.in_(mine)),
        "entitlements": _all_but(Entitlement, "decided_by").where(Entitlement.user_id == user_id),
        "groups": groups.where(GroupMember.user_id == user_id),
        "identities": _all_but(OidcIdentity).where(OidcIdentity.user_id == user_id),
        "invitations": _all_but(Invitation, "created_by", "used_by").where(invited),
        "webhooks": _all_but(WebhookDelivery).where(WebhookDelivery.user_id == user_id),
    }


def _usage(user_id: str) -> Select[Any]:
    wanted = _all_but(UsageEntry, "id").where(UsageEntry.user_id == user_id)
    return wanted.order_by(UsageEntry.time, UsageEntry.id)


def _requests(reading: Session, user_id: str) -> Iterator[dict[str, Any]]:
    wanted = _all_but(AsyncRequest).where(AsyncRequest.user_id == user_id)
    for row in _rows(reading, wanted.order_by(AsyncRequest.id)):
        for part in BodyPart:
            body = requests.body(reading, row["id"], part)
            row[part.value] = None if body is None else body.decode("utf-8", "replace")
        yield row


def _audit(reading: Session, user_id: str) -> Iterator[dict[str, Any]]:
    about = or_(AuditEntry.actor == user_id, AuditEntry.subject == user_id)
    wanted = _all_but(AuditEntry, "previous", "hash").where(about).order_by(AuditEntry.seq)
    for row in _rows(reading, wanted):
        if row["actor"] != user_id:
            # Who else acted, and from where, is not theirs to know.
            row |= {"actor": None, "credential": None, "address": None, "request_id": None}
        yield row | {"details": json.loads(row["details"])}


def _all_but(table: Any, *left_out: str) -> Select[Any]:
    """A test names every column that is in the archive, so nobody adds a secret unseen."""
    columns: list[InstrumentedAttribute[Any]] = [
        getattr(table, column.key)
        for column in table.__table__.columns
        if column.key not in left_out
    ]
    return select(*columns)


def _rows(reading: Session, wanted: Select[Any]) -> Iterator[dict[str, Any]]:
    found = reading.execute(wanted, execution_options={"yield_per": _AT_ONCE})
    for row in found.mappings():
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _text(archive: zipfile.ZipFile, name: str, text: str, *, now: datetime) -> None:
    archive.writestr(_entry(name, now=now), text)


def _lines(
    archive: zipfile.ZipFile, name: str, rows: Iterator[dict[str, Any]], *, now: datetime
) -> None:
    with archive.open(_entry(name, now=now), "w", force_zip64=True) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def _entry(name: str, *, now: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, now.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry
