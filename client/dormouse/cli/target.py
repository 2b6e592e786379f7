"""Which model a command calls, and which service that is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dormouse.errors import DormouseError
from dormouse.types import Service

if TYPE_CHECKING:
    from dormouse.client import Dormouse


@dataclass(frozen=True)
class Target:
    """`service` is None for a name that no service lists: the server will say what it thinks."""

    model: str
    service: Service | None


class NothingOffered(DormouseError):
    code = "nothing_offered"


def choose(client: "Dormouse", endpoint: str, model: str | None) -> Target:
    """The named model, else the first that is offered for `endpoint`; yours come first."""
    services = list(client.services.list())
    if model is not None:
        return Target(model, next((each for each in services if _knows(each, model)), None))
    for service in sorted(services, key=lambda each: not each.entitled):
        offered = [each.id for each in service.models if each.offered]
        if endpoint in service.endpoints and offered:
            return Target(offered[0], service)
    raise NothingOffered(f"{client.base_url} offers no model for {endpoint}")


def _knows(service: Service, model: str) -> bool:
    return model in service.aliases or any(each.id == model for each in service.models)
