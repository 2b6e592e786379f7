"""What can be reached at all: the routes of the list below and nothing else."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route
from starlette.testclient import TestClient

from dormouse_control.app import internal_app, public_app
from dormouse_control.wiring import Platform

V1 = "/api/v1"
PUBLIC = {
    f"POST {V1}/registrations",
    f"POST {V1}/verifications",
    f"POST {V1}/verifications/confirm",
    f"POST {V1}/resets",
    f"POST {V1}/resets/confirm",
    f"POST {V1}/administrators",
    f"POST {V1}/invitations",
    f"GET {V1}/invitations",
    f"DELETE {V1}/invitations/{{id}}",
    f"POST {V1}/sessions",
    f"POST {V1}/sessions/code",
    f"POST {V1}/sessions/refresh",
    f"GET {V1}/sessions",
    f"DELETE {V1}/sessions/current",
    f"DELETE {V1}/sessions/others",
    f"DELETE {V1}/sessions/{{id}}",
    f"GET {V1}/me",
    f"PUT {V1}/me/password",
    f"POST {V1}/me/second-factor",
    f"POST {V1}/me/second-factor/confirm",
    f"POST {V1}/me/second-factor/remove",
    f"GET {V1}/me/export",
    f"POST {V1}/me/erase",
    f"GET {V1}/me/identities",
    f"POST {V1}/me/identities/{{provider}}",
    f"DELETE {V1}/me/identities/{{id}}",
    f"GET {V1}/providers",
    f"GET {V1}/providers/{{name}}/authorize",
    f"GET {V1}/providers/{{name}}/callback",
    f"GET {V1}/providers/{{name}}/link",
    f"POST {V1}/keys",
    f"GET {V1}/keys",
    f"PATCH {V1}/keys/{{id}}",
    f"DELETE {V1}/keys/{{id}}",
    f"POST {V1}/entitlements",
    f"GET {V1}/entitlements",
    f"DELETE {V1}/entitlements/{{service}}",
    f"GET {V1}/users",
    f"GET {V1}/users/{{id}}",
    f"PATCH {V1}/users/{{id}}",
    f"DELETE {V1}/users/{{id}}",
    f"DELETE {V1}/users/{{id}}/attempts",
    f"DELETE {V1}/users/{{id}}/second-factor",
    f"DELETE {V1}/users/{{id}}/sessions",
    f"GET {V1}/users/{{id}}/keys",
    f"DELETE {V1}/users/{{id}}/keys/{{key}}",
    f"PUT {V1}/users/{{id}}/entitlements/{{service}}",
    f"DELETE {V1}/users/{{id}}/entitlements/{{service}}",
    f"POST {V1}/users/{{id}}/entitlements/{{service}}/refuse",
    f"GET {V1}/approvals",
    f"GET {V1}/requests",
    f"GET {V1}/requests/{{id}}",
    f"DELETE {V1}/requests/{{id}}",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    f"POST {V1}/webhook-secret",
    f"GET {V1}/webhook-secret",
    f"GET {V1}/tiers",
    f"PUT {V1}/tiers/{{id}}",
    f"DELETE {V1}/tiers/{{id}}",
    f"GET {V1}/groups",
    f"POST {V1}/groups",
    f"GET {V1}/groups/{{id}}",
    f"PATCH {V1}/groups/{{id}}",
    f"DELETE {V1}/groups/{{id}}",
    f"GET {V1}/groups/{{id}}/members",
    f"PUT {V1}/groups/{{id}}/members/{{user}}",
    f"DELETE {V1}/groups/{{id}}/members/{{user}}",
    f"PUT {V1}/groups/{{id}}/entitlements/{{service}}",
    f"DELETE {V1}/groups/{{id}}/entitlements/{{service}}",
    f"GET {V1}/me/budgets",
    f"GET {V1}/budgets",
    f"GET {V1}/budgets/{{subject}}",
    f"PUT {V1}/budgets/{{subject}}/{{period}}",
    f"DELETE {V1}/budgets/{{subject}}/{{period}}",
    f"GET {V1}/access",
    f"GET {V1}/workspace",
    f"GET {V1}/signing-keys",
    f"POST {V1}/signing-keys",
    f"GET {V1}/audit",
    f"GET {V1}/audit/verification",
    f"GET {V1}/ledger/verification",
    f"GET {V1}/services",
    f"GET {V1}/services/{{id}}",
    f"GET {V1}/services/{{id}}/status",
    f"POST {V1}/services/{{id}}/wake",
    f"POST {V1}/services/{{id}}/sleep",
    f"GET {V1}/usage",
    f"GET {V1}/usage/totals",
    f"GET {V1}/usage/export",
    f"GET {V1}/usage/all",
    f"GET {V1}/usage/all/totals",
    f"GET {V1}/usage/all/export",
    f"GET {V1}/status",
    f"GET {V1}/openapi.json",
    "GET /v1/models",
    "GET /v1/models/{id:path}",
    "GET /healthz",
    "GET /account/{name}",
    "GET /readyz",
    "GET /.well-known/jwks.json",
}
INTERNAL = {
    "POST /internal/v1/principals",
    "GET /internal/v1/revocations",
    "GET /internal/v1/routes",
    "POST /internal/v1/events",
    "POST /internal/v1/leases",
    "POST /internal/v1/periods",
}


def inventory(app: FastAPI) -> set[str]:
    found = set()
    for route in iter_route_contexts(app.routes):
        assert isinstance(route.original_route, APIRoute | Route)
        found |= {f"{method} {route.path}" for method in route.methods or () if method != "HEAD"}
    return found


def test_t40_every_route_is_on_the_list(platform: Platform) -> None:
    assert inventory(public_app(platform)) == PUBLIC
    assert inventory(internal_app(platform)) == INTERNAL


NOWHERE = [
    "/internal/v1/principals",
    "/internal/v1/routes",
    "/internal/v1/revocations?after=0",
    "/internal/v1/events",
    "/internal/v1/periods",
    "/metrics",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/admin",
    "/debug",
    "/api/v1/internal/v1/routes",
    "/api/v1/admin",
    "/api/v2/me",
    "/api/v1/../internal/v1/routes",
    "/api/v1//me",
    "/api/v1/me/",
    "/API/V1/ME",
    "/stats/prometheus",
    "/quitquitquit",
    "/config_dump",
    "/.env",
    "/run/envoy.json",
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_t40_nothing_else_answers_not_even_an_administrator(
    client: TestClient, administrator: Any, method: str
) -> None:
    reached = [
        path
        for path in NOWHERE
        if administrator.call(method, path).status_code != 404
        or client.request(method, path).status_code != 404
    ]
    assert reached == []


OVERRIDES = ["x-http-method-override", "x-method-override", "x-http-method", "x-original-method"]


@pytest.mark.parametrize("header", OVERRIDES)
def test_t40_no_header_or_field_changes_the_method(
    client: TestClient, ada: Any, header: str
) -> None:
    key = ada.key()
    path = f"/api/v1/keys/{key['id']}"
    headers = {"authorization": f"Bearer {ada.access_token}", header: "DELETE"}
    for method, asked in (("POST", path), ("GET", path), ("POST", f"{path}?_method=DELETE")):
        assert client.request(method, asked, headers=headers).status_code == 405
    assert [item["id"] for item in ada.get("/api/v1/keys").json()["items"]] == [key["id"]]


@pytest.mark.parametrize(
    "header", ["x-original-url", "x-rewrite-url", "x-forwarded-path", "x-forwarded-prefix", "host"]
)
def test_t40_no_header_changes_the_path(client: TestClient, ada: Any, header: str) -> None:
    headers = {"authorization": f"Bearer {ada.access_token}", header: "/internal/v1/routes"}
    answer = client.get("/api/v1/me", headers=headers)
    assert answer.json()["id"] == ada.id


# ---- T42 -----------------------------------------------------------------------------------------

NOBODYS = [
    "ada:small",
    "ada:small:1",
    "usr_01hzz:small:v2",
    "small:latest",
    "small@ada",
    "small/",
    "chat/small",
    "SMALL",
    "small ",
    "large",  # not offered in this profile
    "painter",
    "dall-e-3",
    "chat",
    "no-such-model",
]


@pytest.mark.parametrize("name", NOBODYS)
def test_t42_a_name_that_leads_nowhere_is_404_at_both_doors(ada: Any, gate: Any, name: str) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    shown = ada.get(f"/v1/models/{name}")
    missing = ada.get("/v1/models/no-such-model")
    assert (shown.status_code, shown.text) == (404, missing.text)
    asked = gate.asks(f"Bearer {ada.access_token}", model=name)
    assert asked == (404, "model_not_found")
    assert ada.post("/api/v1/keys", {"name": "k", "models": [name]}).status_code == 422
