"""What the platform's error codes mean, read from `error_codes.yaml` beside this.

They are raised in `dormouse_control/errors.py` (control plane), `authorizer/refusals.py`,
`gateway/` (Envoy's own refusals), `nest/`, and wherever a predictor raises `CallError`.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

_FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class ErrorCode:
    """`statuses` are those of HTTP that it comes with; `in_stream`: as the last event of a stream,
    whose status was sent long before."""

    code: str
    statuses: tuple[int, ...]
    when: str
    advice: str = ""
    in_stream: bool = False


def error_codes() -> tuple[ErrorCode, ...]:
    """A code may stand there twice, with statuses that mean different things."""
    rows = yaml.safe_load(_FILE.read_text("utf-8"))
    return tuple(ErrorCode(**{**row, "statuses": tuple(row["statuses"])}) for row in rows)
