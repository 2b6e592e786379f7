"""One module per noun of the API; each class is what hangs off the client under that name."""

from dormouse.resources.accounts import Administrators, Resets, Verifications
from dormouse.resources.admin import Admin
from dormouse.resources.audit import Audit
from dormouse.resources.budgets import Budgets
from dormouse.resources.chat import Chat
from dormouse.resources.completions import Completions
from dormouse.resources.embeddings import Embeddings
from dormouse.resources.entitlements import Entitlements
from dormouse.resources.invitations import Invitations
from dormouse.resources.keys import Keys
from dormouse.resources.ledger import Ledger
from dormouse.resources.models import Models
from dormouse.resources.providers import Providers
from dormouse.resources.requests import AsyncRequests
from dormouse.resources.second_factor import SecondFactor
from dormouse.resources.services import Services
from dormouse.resources.sessions import Sessions
from dormouse.resources.usage import Usage
from dormouse.resources.workspace import Workspace

__all__ = [
    "Admin",
    "Administrators",
    "AsyncRequests",
    "Audit",
    "Budgets",
    "Chat",
    "Completions",
    "Embeddings",
    "Entitlements",
    "Invitations",
    "Keys",
    "Ledger",
    "Models",
    "Providers",
    "Resets",
    "SecondFactor",
    "Services",
    "Sessions",
    "Usage",
    "Verifications",
    "Workspace",
]
