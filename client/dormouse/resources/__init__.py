"""One module per noun of the API; each class is what hangs off the client under that name."""

from dormouse.resources.chat import Chat
from dormouse.resources.completions import Completions
from dormouse.resources.embeddings import Embeddings
from dormouse.resources.entitlements import Entitlements
from dormouse.resources.keys import Keys
from dormouse.resources.models import Models
from dormouse.resources.services import Services
from dormouse.resources.usage import Usage

__all__ = [
    "Chat",
    "Completions",
    "Embeddings",
    "Entitlements",
    "Keys",
    "Models",
    "Services",
    "Usage",
]
