"""All tables in one place, for whoever needs the whole schema."""

from sqlalchemy import MetaData

from dormouse_control.db import Base
from dormouse_control.entitlements import models as entitlements
from dormouse_control.identity import models as identity
from dormouse_control.usage import models as usage

METADATA: MetaData = Base.metadata
TABLES = (
    identity.User,
    identity.UserSession,
    identity.ApiKey,
    identity.Revocation,
    entitlements.Entitlement,
    usage.UsageEntry,
    usage.RejectedEvent,
)
