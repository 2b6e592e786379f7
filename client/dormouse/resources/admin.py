"""`client.admin`: users, groups and tiers, and who has access to what; for administrators."""

from dormouse.resources.access import AccessReview, Requests
from dormouse.resources.groups import Groups
from dormouse.resources.tiers import Tiers
from dormouse.resources.users import Users
from dormouse.transport import Transport


class Admin:
    def __init__(self, transport: Transport) -> None:
        self.users = Users(transport)
        self.groups = Groups(transport)
        self.tiers = Tiers(transport)
        self.requests = Requests(transport)
        self.access = AccessReview(transport)
