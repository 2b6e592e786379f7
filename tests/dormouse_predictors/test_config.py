import json

import pytest

from dormouse_predictors.config import ConfigError, parse

LINE = {
    "service": "chat",
    "engine": "llama",
    "services_folder": "/s",
    "profile": "starter",
    "model": "m",
    "jwks": "/k",
    "spool": "/p",
    "internal_api": "/i.sock",
    "weights": "/w",
    "log_level": "info",
    "threads": 2,
    "timeout_seconds": 600,
    "queue_length": 100,
}


def test_the_nests_line_is_read() -> None:
    config = parse(json.dumps(LINE | {"of_a_newer_nest": 1}).encode())
    assert (config.service, config.cores, config.queue_length) == ("chat", 2, 100)
    assert (config.meters_folder, config.max_wait_seconds) == (None, 60)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", json.dumps(LINE | {"profile": "x"}).encode()]
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(line)
