"""Wire types of what webhooks are signed with."""

from datetime import datetime

from pydantic import Field

from dormouse_control.wire import Answer


class WebhookSecretRead(Answer):
    """The one before it signs too until `previous_until`; null: there is none."""

    created_at: datetime
    previous_until: datetime | None


class WebhookSecretMade(WebhookSecretRead):
    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="])
