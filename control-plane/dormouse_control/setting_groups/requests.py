"""Asynchronous requests, and the webhooks that tell of their end."""

from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from dormouse_control.setting_groups.lists import words
from dormouse_control.webhooks.addresses import Allowed


class Requests(BaseModel):
    async_requests: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Asynchronous requests of a user that may wait or run at the same time; ten"
        " times as many are kept, with those that have ended.",
    )
    async_stored_mb: int = Field(
        default=256,
        ge=1,
        description="Bodies and results of a user's asynchronous requests that are kept, in MiB.",
    )
    async_running: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Asynchronous requests of all users that the control plane performs at once.",
    )
    async_deadline_seconds: int = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="An asynchronous request that could not begin for so long has expired.",
    )
    async_kept_hours: int = Field(
        default=24,
        ge=1,
        le=720,
        description="So long after its end an asynchronous request is erased, if its webhook is not"
        " tried any more.",
    )
    reserved_disk_mb: int = Field(
        default=256,
        ge=0,
        description="With less space left for `home` no asynchronous requests are taken, in MiB.",
    )
    webhook_allowed: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names of hosts and networks, with commas between them, that webhooks may reach"
        " although they are not public, or by plain http.",
    )

    _split_allowed = field_validator("webhook_allowed", mode="before")(words)

    @field_validator("webhook_allowed")
    @classmethod
    def _names_or_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Allowed.of(value)
        return value
