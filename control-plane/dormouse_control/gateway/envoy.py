"""Envoy's configuration as a pure function; it stays as it is while predictors come and go.

Inference paths go through Lua (which model?), ext_authz (may this caller?) and one ORIGINAL_DST
cluster whose address the authorizer names; everything else goes to the control plane.
"""

from pathlib import Path
from typing import Any  # Envoy's configuration is a JSON document

from dormouse_control.gateway import delegated, overload, tls
from dormouse_control.gateway.calls import http_filters, routes
from dormouse_control.gateway.facts import Gateway, seconds
from dormouse_control.gateway.replies import access_log, local_replies

_TYPE = "type.googleapis.com/envoy.extensions"
_RUNTIME = {
    # Bytes between chunks are not skipped but refused: servers disagree on what they are.
    "envoy.reloadable_features.strict_chunk_parsing": True,
    # Patterns are ours alone (`calls.py`), and the longest has 134 steps.
    "re2.max_program_size.error_level": 150,
}


def envoy_config(gateway: Gateway, *, lua: str) -> dict[str, Any]:
    return {
        "node": {"id": "gateway", "cluster": "dormouse"},  # who reads a secret must have a name
        "admin": {"address": _pipe(gateway.admin_socket), "ignore_global_conn_limit": True},
        "static_resources": {
            "listeners": [_public(gateway, lua), _delegated(gateway, lua), _metrics(gateway)],
            "clusters": _clusters(gateway),
        },
        "overload_manager": overload.overload_manager(gateway.max_memory_bytes),
        "layered_runtime": {"layers": [{"name": "ours", "static_layer": _RUNTIME}]},
    }


def _public(gateway: Gateway, lua: str) -> dict[str, Any]:
    filters = [_connection_manager(gateway, lua)]
    listener = {
        "name": "public",
        "address": _tcp(gateway.host, gateway.port),
        "enable_reuse_port": False,  # two gateways must not share a port in silence
        "per_connection_buffer_limit_bytes": overload.CONNECTION_BUFFER,
        "socket_options": overload.stalled_readers(),
        "filter_chains": [{"filters": filters}],
    }
    if gateway.tls_secret is None:
        return listener
    return listener | {
        "listener_filters": tls.listener_filters(),
        "listener_filters_timeout": "10s",
        "filter_chains": tls.filter_chains(filters, secret=gateway.tls_secret),
    }


def _delegated(gateway: Gateway, lua: str) -> dict[str, Any]:
    """Calls that the control plane makes for users: as all others, but nobody else gets here."""
    ours = _connection_manager(gateway, lua)
    ours["typed_config"] |= delegated.instead(gateway, lua)
    return {
        "name": "delegated",
        "address": _pipe(gateway.calls_socket),
        "per_connection_buffer_limit_bytes": overload.CONNECTION_BUFFER,
        "filter_chains": [{"filters": [ours]}],
    }


def _connection_manager(gateway: Gateway, lua: str) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "public",
            "codec_type": "AUTO",
            "http_protocol_options": {"accept_http_10": True},
            "http2_protocol_options": {
                "max_concurrent_streams": 100,
                "initial_stream_window_size": 65536,
                "initial_connection_window_size": 1048576,
            },
            "use_remote_address": True,
            "xff_num_trusted_hops": gateway.trusted_hops,
            # Nobody is internal, so a caller's own x-request-id and x-envoy-* are always replaced:
            # the ledger settles each request id once.
            "internal_address_config": {
                "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]
            },
            "always_set_request_id_in_response": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "common_http_protocol_options": {
                "headers_with_underscores_action": "REJECT_REQUEST",
                "max_headers_count": 100,
                "idle_timeout": "300s",
            },
            "max_request_headers_kb": 32,
            "request_headers_timeout": "10s",
            "request_timeout": seconds(overload.REQUEST_SECONDS),
            "stream_idle_timeout": seconds(gateway.timeout_seconds),
            "stream_flush_timeout": seconds(overload.STALLED_SECONDS),
            "drain_timeout": seconds(gateway.drain_seconds),
            "server_header_transformation": "PASS_THROUGH",
            "http_filters": http_filters(gateway, lua),
            "route_config": routes(gateway),
            "local_reply_config": local_replies(),
            "access_log": [access_log()],
        },
    }


def _clusters(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        _pipe_cluster("authorizer", gateway.authorizer_socket),
        _pipe_cluster("control_plane", gateway.control_plane_socket),
        {
            "name": "predictor",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": {"use_http_header": True},
            "connect_timeout": "2s",
            "cleanup_interval": "30s",
            # Shorter than the predictor's: nobody writes into a connection that just closed.
            "typed_extension_protocol_options": _idle("55s"),
            "circuit_breakers": overload.circuit_breakers(overload.MAX_CONNECTIONS),
        },
        {
            "name": "admin",
            "type": "STATIC",
            "load_assignment": _endpoint("admin", _pipe(gateway.admin_socket)),
        },
    ]


def _pipe_cluster(name: str, socket: Path) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": overload.circuit_breakers(overload.MAX_CONNECTIONS),
        "typed_extension_protocol_options": _idle("1800s"),
        "load_assignment": _endpoint(name, _pipe(socket)),
    }


def _idle(seconds_idle: str) -> dict[str, Any]:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"idle_timeout": seconds_idle},
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }


def _endpoint(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def _metrics(gateway: Gateway) -> dict[str, Any]:
    """Only Envoy's numbers leave its admin interface, which itself stays on a private socket."""
    return {
        "name": "metrics",
        "address": _tcp("127.0.0.1", gateway.metrics_port),
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3"
                            ".HttpConnectionManager",
                            "stat_prefix": "metrics",
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {
                                        "@type": f"{_TYPE}.filters.http.router.v3.Router"
                                    },
                                }
                            ],
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "metrics",
                                        "domains": ["*"],
                                        "routes": [
                                            {
                                                "match": {"path": "/metrics"},
                                                "route": {
                                                    "cluster": "admin",
                                                    "prefix_rewrite": "/stats/prometheus",
                                                },
                                            }
                                        ],
                                    }
                                ]
                            },
                        },
                    }
                ]
            }
        ],
    }


def _tcp(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _pipe(path: Path) -> dict[str, Any]:
    return {"pipe": {"path": str(path), "mode": 0o600}}
