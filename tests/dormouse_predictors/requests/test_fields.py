import orjson
import pytest

from dormouse_predictors.errors import CallError
from dormouse_predictors.requests.fields import read_json


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"temperature": 1e999}',
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"user": "\\ud800"}',
        b'{"seed": ' + b"9" * 10**6 + b"}",
        b'{"a": "\xff"}',
        b'{"a": 1} x',
        b'{"messages": [' + b'{"role": "user", "content": "x"},' * 900_000 + b"{}]}",
        b'{"prompt": [' + b"1," * 15_000_000 + b"1]}",
    ],
    ids=lambda raw: repr(raw[:16]),
)
def test_what_is_no_json_object_is_refused(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(raw) > 5_000_000:  # reading it would keep everybody waiting: refused unread
        monkeypatch.setattr(orjson, "loads", lambda _: pytest.fail("it was read"))
    with pytest.raises(CallError) as error:
        read_json(raw)
    assert (error.value.status, error.value.code) == (400, "invalid_json")
    assert len(error.value.message) < 200


def test_an_object_of_endless_fields_is_refused() -> None:
    raw = b"{" + b",".join(b'"k%d":1' % at for at in range(100_000)) + b"}"
    with pytest.raises(CallError) as error:
        read_json(raw)
    assert error.value.code == "unknown_parameter"


def test_an_object_is_read() -> None:
    assert read_json(b'{"a": [1, 2.5, null, "\xc3\xa4"]}') == {"a": [1, 2.5, None, "ä"]}
