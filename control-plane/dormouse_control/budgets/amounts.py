"""Money between what people write and the billionths that are stored."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from dormouse.prices import NANO

Money = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)]
"""In the platform's currency, down to its billionths."""


def nano(amount: float) -> int:
    return int(Decimal(str(amount)) * NANO)


def shown(amount_nano: int) -> str:
    """Without the zeros at the end."""
    return f"{Decimal(amount_nano) / NANO:.9f}".rstrip("0").rstrip(".")
