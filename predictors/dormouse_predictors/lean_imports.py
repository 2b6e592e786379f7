"""Keeps libraries from importing what no predictor needs. To be imported before any of them.

structlog and httpx import rich, for consoles, if it is installed: a tenth of a second of every
start.
"""

import sys

_rich = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
import structlog  # noqa: E402, F401

if _rich is None:
    del sys.modules["rich"]
