"""What receivers of webhooks check: the Standard Webhooks scheme. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signed_headers(
    body: bytes, *, id: str, timestamp: int, secrets: Sequence[bytes]
) -> dict[str, str]:
    """One signature for each secret. `timestamp` is in seconds since 1970."""
    content = f"{id}.{timestamp}.".encode() + body
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(content, secret) for secret in secrets),
    }


def _signature(content: bytes, secret: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
