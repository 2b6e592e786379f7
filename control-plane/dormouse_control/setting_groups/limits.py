"""What users, the gateway and predictors may take."""

from pydantic import BaseModel, Field


class Limits(BaseModel):
    requests_per_minute: int = Field(
        default=600, ge=1, description="Inference calls that a user may make."
    )
    tokens_per_minute: int = Field(
        default=10_000_000,
        ge=1,
        le=1_000_000_000,
        description="Tokens, of prompts and answers together, that a user may use.",
    )
    concurrent_calls: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Calls of a user that may run or wait at the same time.",
    )
    queued_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Calls of a user that may wait for one service; default: as many as may wait"
        " for it at all.",
    )
    max_hold_seconds: float = Field(
        default=600.0,
        ge=1.0,
        le=86_400.0,
        description="So long a call waits at most for its service to wake; then it is told when to"
        " come again, and the service goes on waking.",
    )
    ageing_seconds: float = Field(
        default=30,
        gt=0,
        description="A call that has waited for so long counts as one priority more urgent, so that"
        " none waits for ever.",
    )
    max_body_mb: int = Field(default=32, ge=1, le=1024, description="Longest request body, in MiB.")
    gateway_memory_mb: int = Field(
        default=1024,
        ge=128,
        description="Memory that the gateway may take for bodies and answers on their way, in MiB."
        " Near it the longest are given up, so that the others go on.",
    )
    predictor_user: str = Field(
        default="auto",
        pattern=r"^(auto|platform|[1-9][0-9]{2,8})$",
        description="Users of predictors where the platform runs as root. `auto`: of their own"
        " where that works; a number: of their own, their group has it and users follow it, or"
        " nothing starts; `platform`: root. See `docs/isolation.md`.",
    )
    predictor_cgroup: str = Field(
        default="auto",
        pattern=r"^(auto|off|/\S+)$",
        description="Where predictors get control groups (v2) that limit them. `auto`: below the"
        " platform's own, if nothing else runs in it; a folder that the platform may write to; or"
        " `off`.",
    )
