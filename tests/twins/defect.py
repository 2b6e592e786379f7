"""A hole that a test must catch: one exact replacement in our source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """`file` and `tests` are relative to the repository; `find` stands there exactly once."""

    case: str
    what: str
    file: str
    find: str
    replace: str
    tests: str
