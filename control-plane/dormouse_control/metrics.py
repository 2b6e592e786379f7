"""Serves this process's Prometheus metrics on a loopback port of its own, in a daemon thread."""

from prometheus_client import start_http_server


def serve_metrics(port: int) -> int:
    """The port really used (`port` 0 takes a free one). Raises OSError if it is taken."""
    server, _ = start_http_server(port, addr="127.0.0.1")
    return int(server.server_port)
