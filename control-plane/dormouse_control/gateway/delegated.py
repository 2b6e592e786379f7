"""The way of calls that the control plane makes for users, through a socket of its own. Pure.

The same model look-up, check and route as for everybody, with three differences: the request id is
the one that comes, so that a call which has to be made again is charged once; the authorizer is
told in its question that the credential may be a delegation; and nothing else is reached.
"""

from typing import Any  # Envoy's configuration is a JSON document

from dormouse_control.gateway.calls import (
    NOT_CLIENTS,
    find_model,
    from_the_check_on,
    inference_route,
)
from dormouse_control.gateway.facts import Gateway
from dormouse_control.gateway.paths import DELEGATING_HEADER


def instead(gateway: Gateway, lua: str) -> dict[str, Any]:
    """What of the connection manager is another here."""
    check, *others = from_the_check_on(gateway)
    check["typed_config"]["http_service"]["authorization_request"] = {
        "headers_to_add": [{"key": DELEGATING_HEADER, "value": "1"}]
    }
    return {
        "stat_prefix": "delegated",
        "use_remote_address": False,
        "preserve_external_request_id": True,
        "http_filters": [find_model(lua), check, *others],
        "route_config": {
            "name": "delegated",
            "internal_only_headers": list(NOT_CLIENTS),
            "response_headers_to_remove": ["x-envoy-upstream-service-time"],
            "virtual_hosts": [
                {"name": "calls", "domains": ["*"], "routes": [inference_route(gateway)]}
            ],
        },
    }
