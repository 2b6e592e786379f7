"""What keeps Envoy answering when too much comes at once, as parts of its configuration. Pure.

In this order: streams that hold the most memory are ended, no connection is kept for a next
request, connections and at last requests are refused. Waiting calls are counted and refused by the
nest, which can say when to come back; the circuit breakers only stand behind it.
"""

from typing import Any  # Envoy's configuration is a JSON document

MAX_CONNECTIONS = 10_000
"""Of all clients together; further ones are closed at once."""

CONNECTION_BUFFER = 1024 * 1024
"""Bytes read ahead of who takes them, each way; a call's body may be longer (`calls.py`)."""

REQUEST_SECONDS = 120
"""So long a request may take to arrive: 32 MiB at 2 Mbit/s."""

STALLED_SECONDS = 60
"""Who takes no byte of what is sent for so long is cut off."""

_MONITOR = "type.googleapis.com/envoy.extensions.resource_monitors"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP = "envoy.resource_monitors.fixed_heap"
_TRACKED = 20
"""Streams are told apart by memory from 2^20 bytes on: a plain call costs nothing more."""


def overload_manager(max_heap_bytes: int) -> dict[str, Any]:
    return {
        "refresh_interval": "0.1s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED},
        "resource_monitors": [
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": f"{_MONITOR}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            },
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": f"{_MONITOR}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": max_heap_bytes,
                },
            },
        ],
        "actions": [
            _action("shrink_heap", {"threshold": {"value": 0.7}}),
            _action(
                "reset_high_memory_stream",
                {"scaled": {"scaling_threshold": 0.7, "saturation_threshold": 0.9}},
            ),
            _action("disable_http_keepalive", {"threshold": {"value": 0.9}}),
            _action("stop_accepting_connections", {"threshold": {"value": 0.95}}),
            _action("stop_accepting_requests", {"threshold": {"value": 0.97}}),
        ],
    }


def circuit_breakers(at_once: int) -> dict[str, Any]:
    """`at_once`: how many requests a process of ours may be asked at the same time."""
    return {
        "thresholds": [
            {
                "max_connections": at_once,
                "max_pending_requests": at_once,
                "max_requests": at_once,
                "max_retries": at_once // 10,
            }
        ]
    }


def stalled_readers() -> list[dict[str, Any]]:
    """Of the listener; its connections inherit it."""
    tcp, user_timeout = 6, 18  # IPPROTO_TCP, TCP_USER_TIMEOUT
    return [
        {
            "description": "cut off who takes nothing",
            "level": tcp,
            "name": user_timeout,
            "int_value": STALLED_SECONDS * 1000,
            "state": "STATE_LISTENING",
        }
    ]


def _action(name: str, trigger: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"envoy.overload_actions.{name}",
        "triggers": [{"name": _HEAP, **trigger}],
    }
