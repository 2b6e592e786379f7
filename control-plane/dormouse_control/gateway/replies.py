"""What Envoy itself says: its refusals in the one error shape, and its line in the log."""

from typing import Any  # Envoy's configuration is a JSON document

from dormouse.error_types import type_of
from dormouse_control.authorizer.refusals import WIRE_STATUS

_TYPE = "type.googleapis.com/envoy.extensions"


def local_replies() -> dict[str, Any]:
    """Envoy's own refusals in the one error shape."""
    return {
        "mappers": [
            *(_put_back(wire, status) for status, wire in WIRE_STATUS.items()),
            _reply(413, "body_too_large", "The request body is too large."),
            _reply(
                421,
                "wrong_host",
                "This platform does not answer under this name. Its operator can add it to the"
                " setting allowed_hosts.",
            ),
            _reply(
                431,
                "headers_too_large",
                "The request has more than 100 headers, or more than 32 KiB of them.",
            ),
            _reply(408, "request_timeout", "The request came too slowly."),
            _reply(504, "timeout", "The call took longer than it may."),
            _reply(
                503,
                "overloaded",
                "Too much comes at once for this platform. Try again shortly.",
                retry_after="1",
                details="overload|overflow",
            ),
            _reply(
                503,
                "predictor_died",
                "The process that answered this call has ended, and nothing of the answer came. Try"
                " again shortly.",
                retry_after="1",
                details="upstream_reset_before_response_started.*connection_termination.*",
                cluster="predictor",
            ),
            _reply(
                503,
                "unavailable",
                "This part of the platform is restarting. Try again shortly.",
                retry_after="1",
            ),
            _reply(502, "bad_gateway", "A process of the platform answered nonsense."),
            _reply(
                403,
                "upgrade_refused",
                "No service here is reached by WebSocket or another upgrade. Ask with"
                ' "stream": true for an answer in pieces.',
            ),
            _reply(404, "not_found", "There is nothing at this path."),
            _reply(
                400,
                "bad_request",
                "The request is not valid HTTP, or its path or headers are not accepted.",
            ),
        ],
    }


def _reply(
    status: int,
    code: str,
    message: str,
    *,
    retry_after: str | None = None,
    details: str | None = None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """`details`: a pattern of RE2, of Envoy's own word for what happened; `cluster`: whereto."""
    found: dict[str, Any] = {
        "filter": _made_by_envoy(status, details, cluster),
        "body_format_override": {
            "json_format": _error(message, status, code),
            "content_type": "application/json",
        },
    }
    if retry_after is not None:
        found["headers_to_add"] = [
            {
                "header": {"key": "retry-after", "value": retry_after},
                "append_action": "ADD_IF_ABSENT",
            }
        ]
    return found


def _put_back(wire: int, status: int) -> dict[str, Any]:
    """The authorizer's 5xx, body and headers as they came."""
    return {"filter": _status_is(wire), "status_code": status}


def _made_by_envoy(status: int, details: str | None, cluster: str | None) -> dict[str, Any]:
    """To Envoy the refusals of authorizer and Lua are its own too: those stay as they are."""
    wanted = f"response.code == {status}"
    if details is not None:
        wanted += f" && response.code_details.matches('{details}')"
    if cluster is not None:
        wanted += f" && xds.cluster_name == '{cluster}'"
    others = "response.code_details in ['ext_authz_denied', 'lua_response']"
    return _filter(f"{wanted} && !({others})")


def _status_is(status: int) -> dict[str, Any]:
    return _filter(f"response.code == {status}")


def _filter(expression: str) -> dict[str, Any]:
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": f"{_TYPE}.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": expression,
            },
        }
    }


def _error(message: str, status: int, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_of(status), "param": None, "code": code}}


def access_log() -> dict[str, Any]:
    """One line a call, with the request id that every process logs; no headers of the caller."""
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {
                "json_format": {
                    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
                    "level": "info",
                    "process": "gateway",
                    "event": "call",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ:ORIG_OR_PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "ms": "%DURATION%",
                    "received_bytes": "%BYTES_RECEIVED%",
                    "sent_bytes": "%BYTES_SENT%",
                    "upstream": "%UPSTREAM_HOST%",
                }
            },
        },
    }
