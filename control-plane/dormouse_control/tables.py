"""All tables in one place, for whoever needs the whole schema."""

from sqlalchemy import MetaData

from dormouse_control.audit import models as audit
from dormouse_control.awake import models as awake
from dormouse_control.budgets import models as budgets
from dormouse_control.db import Base
from dormouse_control.entitlements import models as entitlements
from dormouse_control.groups import models as groups
from dormouse_control.idempotency import models as idempotency
from dormouse_control.identity import models as identity
from dormouse_control.invitations import models as invitations
from dormouse_control.leases import models as leases
from dormouse_control.ledger import models as ledger
from dormouse_control.mail import models as mail
from dormouse_control.oidc import models as oidc
from dormouse_control.proofs import models as proofs
from dormouse_control.requests import models as requests
from dormouse_control.restores import models as restores
from dormouse_control.tiers import models as tiers
from dormouse_control.usage import models as usage
from dormouse_control.webhooks import models as webhooks

METADATA: MetaData = Base.metadata
TABLES = (
    tiers.Tier,
    identity.User,
    identity.UserSession,
    identity.ApiKey,
    identity.Revocation,
    proofs.OneTimeToken,
    proofs.RecoveryCode,
    proofs.SignInAttempts,
    oidc.OidcIdentity,
    oidc.OidcFlow,
    invitations.Invitation,
    groups.Group,
    groups.GroupMember,
    groups.GroupEntitlement,
    entitlements.Entitlement,
    budgets.SetBudget,
    budgets.BudgetNotice,
    mail.Mail,
    audit.AuditEntry,
    idempotency.StoredReply,
    usage.UsageEntry,
    usage.RejectedEvent,
    ledger.LedgerEntry,
    ledger.Spending,
    ledger.PriceList,
    leases.LeaseClock,
    leases.LeaseHolder,
    leases.RateBucket,
    leases.RatePiece,
    leases.SlotPiece,
    leases.Lease,
    awake.AwakePeriod,
    requests.AsyncRequest,
    requests.AsyncBody,
    webhooks.WebhookSecret,
    webhooks.WebhookDelivery,
    restores.Epoch,
)
