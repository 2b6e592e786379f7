from typing import Any

import pytest

from dormouse import Dormouse, NotFoundError


def test_models_are_listed_and_retrieved(client: Dormouse) -> None:
    assert [model.id for model in client.models.list()] == ["small"]
    model = client.models.retrieve("small")
    assert (model.id, model.service, model.entitled) == ("small", "chat", True)


def test_services_are_listed_and_got(client: Dormouse) -> None:
    assert [service.id for service in client.services.list()] == ["embeddings", "chat"]
    chat = client.services.get("chat")
    assert (chat.status, chat.entitled, chat.aliases) == ("awake", True, ["gpt-4o-mini"])
    assert [model.id for model in chat.models if model.offered] == ["small"]
    assert chat.prices is not None
    assert chat.prices.per_1000_prompt_tokens == 0.0002


def test_entitlements_come_and_go(client: Dormouse) -> None:
    client.entitlements.delete("chat")
    assert client.entitlements.list().items == []
    assert client.entitlements.create("chat").status == "active"
    assert [each.service for each in client.entitlements.list()] == ["chat"]


def test_keys_come_and_go(platform: Any, connect: Any) -> None:
    client = connect(email="ada@example.org", password="correct horse")
    key = client.keys.create("laptop")
    assert (key.id, key.name, key.key) == ("key_1", "laptop", "dm_laptop")
    assert connect(api_key=key.key).me().id == "usr_1"
    assert [(each.id, each.key) for each in client.keys.list()] == [("key_1", None)]
    client.keys.delete("key_1")
    with pytest.raises(NotFoundError):
        client.keys.delete("key_1")
    assert platform.keys == {}


def test_usage_has_calls_and_totals(client: Dormouse) -> None:
    page = client.usage.list()
    assert [call.request_id for call in page.items] == ["req_0", "req_1", "req_2"]
    assert page.items[0].cost == 0.0000228
    assert (page.totals.requests, page.totals.completion_tokens, page.currency) == (3, 102, "USD")


def test_usage_is_read_page_by_page(platform: Any, client: Dormouse) -> None:
    page = client.usage.list(limit=2)
    assert (len(page.items), page.next) == (2, "2")
    assert [call.request_id for call in page] == ["req_0", "req_1", "req_2"]
    assert platform.requests[-1].query == {"limit": ["2"], "after": ["2"]}
    assert [call.request_id for call in client.usage.list(after="2")] == ["req_2"]


def test_status_shows_services_and_processes(client: Dormouse) -> None:
    status = client.status()
    assert status.services[0].predictors[0].pid == 70
    assert status.services[0].models_loaded == ["small"]
    assert (status.processes[0].name, status.processes[0].restarts) == ("nest", 1)
