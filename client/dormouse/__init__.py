"""The client library of Dormouse: OpenAI's way of calling models, and what Dormouse adds.

from dormouse import Dormouse

client = Dormouse(api_key="dm_…")
completion = client.chat.completions.create(
    model="dormouse-chat", messages=[{"role": "user", "content": "Who are you?"}]
)
print(completion.choices[0].message.content)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dormouse.version import __version__

if TYPE_CHECKING:
    from dormouse.client import Dormouse
    from dormouse.errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConflictError,
        CredentialsError,
        DormouseError,
        InsufficientQuotaError,
        InternalServerError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        ServiceUnavailableError,
        SignInError,
        UnexpectedAnswerError,
    )

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "CredentialsError",
    "Dormouse",
    "DormouseError",
    "InsufficientQuotaError",
    "InternalServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServiceUnavailableError",
    "SignInError",
    "UnexpectedAnswerError",
    "__version__",
]


def __getattr__(name: str) -> object:
    # Every process of the platform imports something from here; only clients need the client.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("dormouse.client" if name == "Dormouse" else "dormouse.errors")
    value: object = getattr(module, name)
    globals()[name] = value
    return value
