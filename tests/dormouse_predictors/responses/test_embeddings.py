import base64
import struct

import pytest

from dormouse_predictors.base import Embedded, Meter
from dormouse_predictors.responses import embeddings

RAW = struct.pack("<2f", 0.5, -1.0)


@pytest.mark.parametrize(
    ("as_base64", "shown"), [(False, [0.5, -1.0]), (True, base64.b64encode(RAW).decode())]
)
def test_both_encodings(as_base64: bool, shown: object) -> None:
    meter = Meter()
    meter.prompt_tokens = 3
    assert embeddings.whole("asked", Embedded((RAW,)), meter, as_base64=as_base64) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": shown}],
        "model": "asked",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
