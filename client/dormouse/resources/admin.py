"""`client.admin`: users, groups, tiers, budgets, usage, access, services; for administrators."""

from dormouse.resources.access import AccessReview, Requests
from dormouse.resources.budgets import AllBudgets
from dormouse.resources.groups import Groups
from dormouse.resources.services import ServicesByHand
from dormouse.resources.tiers import Tiers
from dormouse.resources.usage import Usage
from dormouse.resources.users import Users
from dormouse.transport import Transport


class Admin:
    def __init__(self, transport: Transport) -> None:
        self.users = Users(transport)
        self.groups = Groups(transport)
        self.tiers = Tiers(transport)
        self.budgets = AllBudgets(transport)
        self.requests = Requests(transport)
        self.access = AccessReview(transport)
        self.usage = Usage(transport, "/api/v1/usage/all")
        self.services = ServicesByHand(transport)
