"""Wire types of what webhooks are signed with."""

from datetime import datetime

from pydantic import Field

from dormouse_control.wire import Answer


class WebhookSecretRead(Answer):
    """Null: there is none yet. The one before it signs too until `previous_until`."""

    created_at: datetime | None
    previous_until: datetime | None


class WebhookSecretMade(WebhookSecretRead):
    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="])
