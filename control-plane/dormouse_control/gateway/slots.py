"""Where what stands in a slot of the decision table; the authorizer writes it, the gateway reads.

A slot is a row of 8-byte floats in a file that both have mapped into memory. Whole numbers up to
2^53 fit, and each is written and read at once. All further numbers are indexes into the slot.
"""

SLOTS = 8192
WORDS = 208
"""1,664 bytes a slot: an internal token has about 800."""

ALIVE_UNTIL = SLOTS * WORDS
"""Index into the file, behind the slots: seconds since 1970 after which no decision counts, because
the authorizer that would take it back may be dead."""

FILE_WORDS = ALIVE_UNTIL + 1

VERSION = 0
"""Unique in all time; 0 while the slot is written or says nothing."""

UNTIL = 1
"""Seconds since 1970 after which the slot says nothing."""

DIGEST = 2
TOKEN_LENGTH = 4
ADDRESS_LENGTH = 5
PREFIX_LENGTH = 6
SUFFIX_LENGTH = 7
REST = 8
"""What is left of the requests a minute beside the permits that were given."""

MAX_BYTES = 9
"""Longest body of such calls."""

TOKENS_REST = 10
"""What is left of the tokens a minute; less than 0: no limit."""

MIDDLE_LENGTH = 11

ALLOWED = 16
"""How many calls each worker may have let through since the file was made, one number a worker."""

TAKEN = 32
"""How many it has; the only numbers that the gateway writes."""

TEXT = 48
"""Token, address, and what stands before, between and after the requests and tokens that are left
in the value of x-dormouse-limits; one after the other."""

DIGEST_BYTES = 16
TEXT_BYTES = (WORDS - TEXT) * 8
MAX_WORKERS = TAKEN - ALLOWED
PROBES = 8
"""A decision stands in one of so many slots, beginning with the one that its digest names."""


def first_slot(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little") % SLOTS
