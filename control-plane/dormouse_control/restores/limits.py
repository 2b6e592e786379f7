"""An API key's limits, as the journal has them and as they are put back."""

from datetime import datetime
from typing import Any  # columns of a key

from dormouse_control.identity.models import ApiKey, Period

_PLAIN = (
    "services",
    "models",
    "endpoints",
    "ip_ranges",
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_calls",
    "budget_nano",
)


def written(key: ApiKey) -> dict[str, Any]:
    """For JSON."""
    return {
        **{name: getattr(key, name) for name in _PLAIN},
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "budget_period": key.budget_period.value if key.budget_period else None,
    }


def put_back(key: ApiKey, limits: dict[str, Any]) -> bool:
    """Whether the key had others."""
    before = written(key)
    limits = before | limits  # a journal may be older than one of them
    if before == limits:
        return False
    end, period = limits["expires_at"], limits["budget_period"]
    for name in _PLAIN:
        setattr(key, name, limits[name])
    key.expires_at = datetime.fromisoformat(end) if end else None
    key.budget_period = Period(period) if period else None
    return True
