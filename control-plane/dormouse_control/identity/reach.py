"""What a credential is narrowed to. Pure: the same rule in control plane and authorizer."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """None: not narrowed in this respect. `models` are models' own names, not other names."""

    services: frozenset[str] | None = None
    models: frozenset[str] | None = None
    endpoints: frozenset[str] | None = None

    @property
    def restricted(self) -> bool:
        return any(limit is not None for limit in (self.services, self.models, self.endpoints))

    def excludes(self, *, service: str, model: str, endpoint: str) -> str | None:
        """What of a call lies outside, in words; None if all of it is inside."""
        asked = (
            ("service", service, self.services),
            ("model", model, self.models),
            ("endpoint", endpoint, self.endpoints),
        )
        for kind, name, allowed in asked:
            if allowed is not None and name not in allowed:
                return f"{kind} {name!r}"
        return None

    def includes(self, *, service: str, model: str, endpoints: Iterable[str]) -> bool:
        """Whether anything of a model may be called."""
        return any(
            self.excludes(service=service, model=model, endpoint=endpoint) is None
            for endpoint in endpoints
        )


EVERYTHING = Reach()


def reach(
    services: Collection[str] | None,
    models: Collection[str] | None,
    endpoints: Collection[str] | None,
) -> Reach:
    """From lists, as databases and JSON have them."""
    limits = (services, models, endpoints)
    return Reach(*(None if limit is None else frozenset(limit) for limit in limits))
