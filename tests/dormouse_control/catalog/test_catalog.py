from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.runtimes.base import ServiceStatus

AWAKE = ServiceStatus(
    id="chat",
    status="waking",
    stage="loading",
    models_loaded=("small",),
    predictors=(),
    queue=1,
    last_cold_start_ms=120,
)


def test_a_service_shows_what_it_is_and_how_it_is(ada: Any, runtime: Any) -> None:
    runtime.services = [AWAKE]
    ada.post("/api/v1/entitlements", {"service": "chat"})

    page = ada.get("/api/v1/services").json()

    model = {
        "description": "",
        "license": "Apache-2.0",
        "context": 128,
        "parameters": 1000,
    }
    assert page["next"] is None
    assert [item["id"] for item in page["items"]] == ["chat", "draw"]
    assert page["items"][0] == {
        "id": "chat",
        "title": "Chat",
        "description": "",
        "category": "text",
        "endpoints": ["chat.completions", "completions"],
        "access": "open",
        "placement": "serverless",
        "aliases": ["gpt-4o-mini"],
        "models": [
            {"id": "large", "title": "Large", "offered": False, "loaded": False} | model,
            {"id": "small", "title": "Small", "offered": True, "loaded": True} | model,
        ],
        "status": "waking",
        "stage": "loading",
        "problem": None,
        "entitled": True,
        "prices": {
            "currency": "USD",
            "per_1000_prompt_tokens": 0.0002,
            "per_1000_completion_tokens": 0.0006,
            "per_audio_second": 0.0,
            "per_image": 0.0,
            "per_gpu_second": 0.0,
            "per_load": 0.0,
        },
    }
    assert ada.get("/api/v1/services/chat").json() == page["items"][0]


def test_services_stay_readable_while_the_nest_is_away(ada: Any, runtime: Any) -> None:
    runtime.services = None

    answer = ada.get("/api/v1/services")

    assert answer.status_code == 200
    items = answer.json()["items"]
    assert {item["status"] for item in items} == {"asleep"}
    assert all("does not answer" in item["problem"] for item in items)


@pytest.mark.parametrize("id", ["nope", "%00", "..%2f..%2fetc"])
def test_an_unknown_service_is_not_found(ada: Any, id: str) -> None:
    answer = ada.get(f"/api/v1/services/{id}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_models_are_listed_in_openais_shape(ada: Any) -> None:
    found = ada.get("/v1/models").json()

    (model,) = found.pop("data")
    assert found == {"object": "list"}
    assert isinstance(model.pop("created"), int)
    assert model == {
        "id": "small",
        "object": "model",
        "owned_by": "dormouse",
        "service": "chat",
        "entitled": False,
    }


def test_a_model_is_found_by_its_name_and_by_its_alias(ada: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})

    assert ada.get("/v1/models/small").json()["entitled"] is True
    alias = ada.get("/v1/models/gpt-4o-mini").json()
    assert (alias["id"], alias["service"]) == ("gpt-4o-mini", "chat")


@pytest.mark.parametrize("name", ["nope", "large", "dall-e-3", "org/name", "%00"])
def test_what_this_profile_does_not_offer_is_not_found(ada: Any, name: str) -> None:
    answer = ada.get(f"/v1/models/{name}")

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "path", ["/api/v1/services", "/api/v1/services/chat", "/v1/models", "/v1/models/small"]
)
def test_the_catalogue_needs_credentials(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401
