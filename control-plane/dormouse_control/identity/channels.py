"""Where a credential stands in a request: in one authorization header, and nowhere else.

Pure: gateway calls and management calls are read by the same rule.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl

# How clients of other platforms name a credential in an address.
_NAMES = frozenset({"api_key", "api-key", "apikey", "key", "access_token", "token"})
_PREFIX = "dm_"


class NoCredential(Exception):
    """The text is for the caller."""


def bearer(authorization: Sequence[str], query: str) -> str:
    """The credential. `authorization` has the headers of that name. Raises `NoCredential`."""
    if query and _holds_credential(query):
        raise NoCredential(
            "A credential in the address ends up in logs and histories, so it is not taken from"
            " there. Send 'Authorization: Bearer KEY', and revoke a key that stood there."
        )
    if not any(authorization):
        raise NoCredential(
            "No credentials. Send 'Authorization: Bearer KEY' with an API key (dm_…) or a"
            " session's access token."
        )
    scheme, _, credential = authorization[0].partition(" ")
    # Proxies join two headers with a comma, which no credential of ours has.
    once = len(authorization) == 1 and "," not in credential
    if not once or scheme.lower() != "bearer" or not credential:
        raise NoCredential("The header must be 'Authorization: Bearer KEY', once.")
    return credential


def _holds_credential(query: str) -> bool:
    return any(
        name.lower() in _NAMES or value.startswith(_PREFIX)
        for name, value in parse_qsl(query, keep_blank_values=True, errors="replace")
    )
