"""Wire types of the workspace."""

from datetime import datetime

from dormouse_control.entitlements.schemas import EntitlementRead
from dormouse_control.identity.keys_schemas import KeyRead
from dormouse_control.identity.schemas import Me
from dormouse_control.usage.schemas import Totals
from dormouse_control.wire import Answer


class WorkspaceService(Answer):
    """`entitled_until` null and `entitled`: without end."""

    id: str
    title: str
    status: str
    entitled: bool
    entitled_until: datetime | None


class WorkspaceModel(Answer):
    """A model that you may call now."""

    id: str
    title: str
    service: str


class WorkspaceVersion(Answer):
    """A version of a model of your own."""

    id: str


class WorkspaceUsage(Answer):
    """`month` is this month in UTC."""

    month: Totals
    all: Totals
    currency: str


class WorkspaceLimits(Answer):
    """0 is the most urgent priority. `monthly_budget` null: none."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    highest_priority: int
    most_keys: int
    monthly_budget: float | None


class Workspace(Answer):
    """All that is yours, in one reading. `keys` are the newest 200."""

    account: Me
    services: list[WorkspaceService]
    models: list[WorkspaceModel]
    versions: list[WorkspaceVersion]
    keys: list[KeyRead]
    usage: WorkspaceUsage
    limits: WorkspaceLimits
    requests: list[EntitlementRead]
    sessions: int
