"""What callers prefer (RFC 7240): how they want to wait for a service that sleeps."""

PROGRESS = "dormouse-progress"
"""Streams tell how far the beginning of their answer has come."""


def prefers(header: str, preference: str) -> bool:
    """Whether a `Prefer` header names it: commas between preferences, then parameters."""
    names = (each.partition(";")[0].partition("=")[0] for each in header.split(","))
    return preference in (name.strip().lower() for name in names)
