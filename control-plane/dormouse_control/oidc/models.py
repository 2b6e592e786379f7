"""Tables: whose account at an OpenID provider is whose here, and sign-ins under way."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class OidcIdentity(Base):
    """`issuer` and `subject` together are the identity; an e-mail address there may change."""

    __tablename__ = "oidc_identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64))
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    created_at: Mapped[datetime]


class OidcFlow(Base):
    """One sign-in under way; `state` is a digest, `verifier_sealed` the PKCE secret (RFC 7636).

    `challenge` and `redirect` are of whoever waits for the result: our portal or command line.
    With `user_id` it ends in a link of that account to `subject`, when `login_code` is redeemed.
    """

    __tablename__ = "oidc_flow"

    state: Mapped[str] = mapped_column(String(43), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64))
    browser: Mapped[str] = mapped_column(String(43))
    nonce: Mapped[str] = mapped_column(String(43))
    verifier_sealed: Mapped[str] = mapped_column(Text)
    challenge: Mapped[str] = mapped_column(String(43))
    redirect: Mapped[str] = mapped_column(String(500))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    subject: Mapped[str | None] = mapped_column(String(255))
    login_code: Mapped[str | None] = mapped_column(String(30), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
