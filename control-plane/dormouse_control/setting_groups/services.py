"""What is offered, and the processes that offer it."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from dormouse_control.setting_groups.places import home_of


class Services(BaseModel):
    database_url: str = Field(
        default_factory=lambda seen: f"sqlite:///{home_of(seen) / 'dormouse.db'}",
        description="sqlite:///… or postgresql://…; default: a SQLite file in `home`.",
        repr=False,  # may hold a password
    )
    services: Path = Field(
        default=Path(__file__).parents[3] / "services", description="Folder of the catalogue."
    )
    profile: Literal["starter", "standard"] = Field(
        default="starter", description="Which models are offered: the tiny ones, or all."
    )
    weights: Path = Field(
        default_factory=lambda seen: home_of(seen) / "weights",
        description="Folder of downloaded weights; default: in `home`.",
    )
    idle_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Sleep after this long without a call; overrides every service's.",
    )
    metrics_port: int = Field(
        default=5001,
        ge=0,
        le=65535 - 4,
        description="Loopback port of the control plane's metrics; authorizer, nest, gateway"
        " and supervisor follow it. 0: any free ports.",
    )
    zygotes: Literal["start", "first_call"] = Field(
        default="start",
        description="When the processes that predictors are forked from are started, one an engine:"
        " with the platform, or by the first call of the engine, which then waits for seconds. Each"
        " takes 100 to 350 MiB of memory.",
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

    @field_validator("services", "weights")
    @classmethod
    def _folders_are_absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))
