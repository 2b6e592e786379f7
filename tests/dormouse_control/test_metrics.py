import urllib.request

import pytest

from dormouse_control.metrics import serve_metrics


def test_metrics_are_served_on_a_free_loopback_port() -> None:
    port = serve_metrics(0)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"process_cpu_seconds_total" in answer.read()


def test_a_taken_port_is_an_error() -> None:
    with pytest.raises(OSError, match="in use"):
        serve_metrics(serve_metrics(0))
