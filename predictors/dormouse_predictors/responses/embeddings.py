"""The list of embeddings."""

import base64
import struct
from typing import Any  # JSON

from dormouse_predictors.base import Embedded, Meter


def whole(model: str, result: Embedded, meter: Meter, *, as_base64: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector).decode() if as_base64 else _floats(vector),
            }
            for index, vector in enumerate(result.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": meter.prompt_tokens, "total_tokens": meter.prompt_tokens},
    }


def _floats(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))
