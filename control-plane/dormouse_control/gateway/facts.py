"""The few facts that Envoy's configuration depends on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Native:
    """The compiled filter, and the file of decisions that it lets calls through by."""

    module: Path
    decisions: Path


@dataclass(frozen=True)
class Gateway:
    """`hold_seconds` is the longest a check may wait for a service to wake. Near `max_memory_bytes`
    Envoy ends the streams that hold the most of it.

    `trusted_hops` is how many proxies stand in front of Envoy. `hosts` are the names that it
    answers to, `*` for all. `tls_secret` is the file that says where the certificate is; None: no
    TLS. On `calls_socket` the control plane makes the calls that users left with it. With `hsts`
    browsers are told to come with TLS only. Without `native` the Lua does it all.
    """

    host: str
    port: int
    metrics_port: int
    admin_socket: Path
    authorizer_socket: Path
    control_plane_socket: Path
    calls_socket: Path
    max_body_bytes: int
    hold_seconds: float
    timeout_seconds: float
    drain_seconds: float
    max_memory_bytes: int = 1024**3
    trusted_hops: int = 0
    hosts: tuple[str, ...] = ("*",)
    tls_secret: Path | None = None
    hsts: bool = False
    native: Native | None = None


def seconds(value: float) -> str:
    return f"{value:g}s"
