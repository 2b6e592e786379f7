"""A call's way through Envoy: Lua finds the model, ext_authz asks, a route leads on. Pure.

Before them stands, where there is one, the compiled filter: it lets plain calls through.
"""

from typing import Any  # Envoy's configuration is a JSON document

from dormouse_control.gateway.facts import Gateway, Native, seconds
from dormouse_control.gateway.hosts import EVERY
from dormouse_control.gateway.paths import ADDRESS_HEADER, INFERENCE, RESPOND_ASYNC
from dormouse_control.gateway.tls import HSTS

NOT_CLIENTS = (
    "x-dormouse-bytes",
    "x-dormouse-limits",
    "x-dormouse-model-error",
    "x-dormouse-worker",
    "x-envoy-original-dst-host",
)
MODELS = r"/models(/[^/]+)?"
_TO_V1 = {"pattern": {"regex": f"^{INFERENCE}$"}, "substitution": r"/v1/\1"}
_TYPE = "type.googleapis.com/envoy.extensions"


def http_filters(gateway: Gateway, lua: str) -> list[dict[str, Any]]:
    model_name = find_model(lua)
    native = gateway.native
    return [
        *(
            [_plain(native, gateway.max_body_bytes), _unless_admitted(model_name)]
            if native
            else [model_name]
        ),
        *from_the_check_on(gateway),
    ]


def find_model(lua: str) -> dict[str, Any]:
    return {
        "name": "model_name",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": lua},
        },
    }


def from_the_check_on(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        {"name": "check", "typed_config": _ext_authz(gateway)},
        {"name": "ours", "typed_config": _only_ours()},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": f"{_TYPE}.filters.http.router.v3.Router",
                "suppress_envoy_headers": True,
            },
        },
    ]


def _plain(native: Native, max_body_bytes: int) -> dict[str, Any]:
    return {
        "name": "plain",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": str(native.module)}}},
            "filter_name": "plain",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": f"{max_body_bytes} {native.decisions}",
            },
        },
    }


def _unless_admitted(inner: dict[str, Any]) -> dict[str, Any]:
    """Spares calls the filter that nobody has to look at any more: their limits are known."""
    known = {
        "input": {
            "name": "limits",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": "x-dormouse-limits",
            },
        },
        "value_match": {"contains": ","},
    }
    skip = {"@type": f"{_TYPE}.filters.common.matcher.action.v3.SkipFilter"}
    return {
        "name": inner["name"],
        "typed_config": {
            "@type": f"{_TYPE}.common.matching.v3.ExtensionWithMatcher",
            "extension_config": inner,
            "xds_matcher": {
                "matcher_list": {
                    "matchers": [
                        {
                            "predicate": {"single_predicate": known},
                            "on_match": {"action": {"name": "skip", "typed_config": skip}},
                        }
                    ]
                }
            },
        },
    }


def _ext_authz(gateway: Gateway) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
        # Calls that admission.lua let through are asked for no more.
        "filter_enabled_metadata": {
            "filter": "dormouse",
            "path": [{"key": "admitted"}],
            "value": {"bool_match": True},
            "invert": True,
        },
        "allowed_headers": {
            "patterns": [
                {"exact": name}
                for name in (
                    "authorization",
                    ADDRESS_HEADER,
                    "prefer",
                    "x-dormouse-bytes",
                    "x-dormouse-model",
                    "x-dormouse-model-error",
                    "x-dormouse-priority",
                    "x-dormouse-worker",
                    "x-request-id",
                )
            ]
        },
        "http_service": {
            "server_uri": {
                "uri": "http://authorizer",
                "cluster": "authorizer",
                "timeout": seconds(gateway.hold_seconds),
            },
            "authorization_response": {
                "allowed_upstream_headers": {
                    "patterns": [
                        {"exact": name}
                        for name in (
                            "authorization",
                            "x-dormouse-limits",
                            "x-envoy-original-dst-host",
                        )
                    ]
                },
            },
        },
    }


def _only_ours() -> dict[str, Any]:
    """Whatever clients sent under our names goes no further, but for the tags of a call. What the
    check saw of it is in `allowed_headers`, and the Lua wrote that."""
    # RE2 knows no "not": so much of a name as is ours, then another letter or none. One pattern,
    # because each is tried on every header.
    tags = "t([^a].*|a([^g].*|g([^-].*)?)?)?"
    limits = "l([^i].*|i([^m].*|m([^i].*|i([^t].*|t([^s].*|s.+)?)?)?)?)?"
    address = "[^o].*|o[^r].*|original-[^d].*"
    ours = f"x-(dormouse-([^tl].*|{tags}|{limits})?|envoy-({address}))"
    wanted = [{"safe_regex": {"regex": ours}}]
    return {
        "@type": f"{_TYPE}.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {
            "request_mutations": [{"remove_on_match": {"key_matcher": each}} for each in wanted]
        },
    }


def routes(gateway: Gateway) -> dict[str, Any]:
    served = {
        "name": "served",
        "domains": list(gateway.hosts),
        "routes": [
            _asynchronous_route(gateway),
            inference_route(gateway),
            _control_plane_route(
                {"safe_regex": {"regex": MODELS}},
                regex_rewrite={
                    "pattern": {"regex": f"^{MODELS}$"},
                    "substitution": r"/v1/models\1",
                },
            ),
            _control_plane_route({"prefix": "/"}),
        ],
    }
    return {
        "name": "routes",
        # Taken from every request before anything looks at it: what only the Lua and the check say.
        "internal_only_headers": list(NOT_CLIENTS),
        "ignore_port_in_host_matching": True,
        **({"response_headers_to_add": [HSTS]} if gateway.hsts else {}),
        # Comes with the authorizer's refusals: how long a look at a credential took.
        "response_headers_to_remove": ["x-envoy-upstream-service-time"],
        "virtual_hosts": [served] if gateway.hosts == EVERY else [served, _other_hosts()],
    }


def _other_hosts() -> dict[str, Any]:
    """`replies.py` says what is answered."""
    refused = {"match": {"prefix": "/"}, "direct_response": {"status": 421}}
    return {"name": "other", "domains": ["*"], "routes": [{**refused, **_straight_on()}]}


def _asynchronous_route(gateway: Gateway) -> dict[str, Any]:
    """Calls that nobody waits for: the control plane takes them. Their model is found here all the
    same, by the one rule, and their whole body is awaited, so that nobody there waits for it."""
    match = {
        "safe_regex": {"regex": INFERENCE},
        "headers": [
            {"name": ":method", "string_match": {"exact": "POST"}},
            {"name": "prefer", "string_match": {"safe_regex": {"regex": RESPOND_ASYNC}}},
        ],
    }
    found = _control_plane_route(match, regex_rewrite=_TO_V1)
    del found["typed_per_filter_config"]["model_name"]
    return {
        **found,
        "metadata": {"filter_metadata": {"model_name": {"asynchronous": True}}},
        "request_body_buffer_limit": gateway.max_body_bytes,
    }


def inference_route(gateway: Gateway) -> dict[str, Any]:
    return {
        "match": {"safe_regex": {"regex": INFERENCE}},
        "request_body_buffer_limit": gateway.max_body_bytes,
        "route": {
            "cluster": "predictor",
            "timeout": seconds(gateway.timeout_seconds),
            "regex_rewrite": _TO_V1,
        },
    }


def _control_plane_route(match: dict[str, Any], **rewrite: Any) -> dict[str, Any]:
    return {
        "match": match,
        "route": {
            "cluster": "control_plane",
            "timeout": "60s",
            "retry_policy": _while_it_restarts(),
            **rewrite,
        },
        "request_headers_to_remove": ["x-envoy-original-dst-host"],
        **_straight_on(),
    }


def _straight_on() -> dict[str, Any]:
    """Past the filters that calls of models go through."""
    off = {"disabled": True}
    return {
        "typed_per_filter_config": {
            # Unknown where there is none, which is no error.
            "plain": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", **off},
            "model_name": {"@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute", "disabled": True},
            "check": {
                "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "disabled": True,
            },
            # Their processes sit on sockets that only the gateway can open, and want some of these.
            "ours": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", **off},
        }
    }


def _while_it_restarts() -> dict[str, Any]:
    """A process that nobody could connect to has not seen the call: asking again is safe."""
    return {
        "retry_on": "connect-failure",
        "num_retries": 12,
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"},
    }
