"""TLS of the public port, as parts of Envoy's configuration. Pure.

Who speaks plain HTTP to that port is told so, and nothing that was sent is looked at. Certificate
and key are read again whenever files are moved into their folder (renewal by rename, as certbot
and Kubernetes do it).
"""

import json
from pathlib import Path
from typing import Any  # Envoy's configuration is a JSON document

CERTIFICATE = "tls.crt"
KEY = "tls.key"
"""Named as in Kubernetes' secrets of type kubernetes.io/tls."""

HSTS = {"header": {"key": "strict-transport-security", "value": "max-age=31536000"}}

_TYPE = "type.googleapis.com/envoy.extensions"
_SECRET = "server"  # noqa: S105  its name


def filter_chains(filters: list[dict[str, Any]], *, secret: Path) -> list[dict[str, Any]]:
    """`filters` behind TLS, and a refusal for who comes without."""
    return [
        {
            "filter_chain_match": {"transport_protocol": "tls"},
            "filters": filters,
            "transport_socket": _transport_socket(secret),
        },
        {"filters": [_told_so()]},
    ]


def listener_filters() -> list[dict[str, Any]]:
    inspector = f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"
    return [
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": inspector},
        }
    ]


def secret(folder: Path) -> str:
    """The file that tells Envoy where certificate and key are."""
    kind = f"{_TYPE}.transport_sockets.tls.v3.Secret"
    certificate = {
        "certificate_chain": {"filename": str(folder / CERTIFICATE)},
        "private_key": {"filename": str(folder / KEY)},
        "watched_directory": {"path": str(folder)},
    }
    return json.dumps(
        {"resources": [{"@type": kind, "name": _SECRET, "tls_certificate": certificate}]}
    )


def _transport_socket(secret: Path) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(secret)}, "resource_api_version": "V3"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [{"name": _SECRET, "sds_config": source}],
            },
        },
    }


def _told_so() -> dict[str, Any]:
    error = {
        "message": "This port speaks TLS: use https. Others may have read what you just sent.",
        "type": "invalid_request_error",
        "param": None,
        "code": "tls_required",
    }
    answer = {
        "status": 400,
        "body": {"inline_string": json.dumps({"error": error})},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "plain",
            "codec_type": "HTTP1",
            "request_headers_timeout": "10s",
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
                }
            ],
            "route_config": {
                "response_headers_to_add": [
                    {
                        "header": {"key": "content-type", "value": "application/json"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    },
                    {"header": {"key": "connection", "value": "close"}},
                ],
                "virtual_hosts": [
                    {
                        "name": "plain",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
                    }
                ],
            },
        },
    }
