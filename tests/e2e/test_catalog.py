"""Models and services that are dropped into the folder of the catalogue, and taken out of it."""

import shutil
from pathlib import Path

import psutil
import pytest

SERVICES = Path(__file__).parents[2] / "services"


@pytest.fixture
def services(tmp_path):
    tmp_path.chmod(0o755)
    return shutil.copytree(SERVICES, tmp_path / "services")


@pytest.fixture
def platform(start_platform, services):
    return start_platform(services=services)


def models(platform, user):
    return {each["id"] for each in platform.get("/v1/models", user.key).json()["data"]}


def add_model(services, service, name):
    """As people do: a copy, file by file."""
    shutil.copytree(services / "chat/dormouse-chat", services / service / name)
    ini = services / service / name / "dormouse-chat.ini"
    ini.rename(ini.with_name(f"{name}.ini"))


def test_a_model_that_is_dropped_in_answers_without_a_restart(platform, services):
    user = platform.sign_up("chat")
    assert platform.chat(user.key, max_tokens=1).status_code == 200
    assert platform.chat(user.key, model="dropped-in").status_code == 404
    add_model(services, "chat", "dropped-in")
    platform.until(lambda: "dropped-in" in models(platform, user), 20)
    platform.until(lambda: platform.chat(user.key, model="dropped-in").status_code == 200, 20)
    answer = platform.chat(user.key, model="dropped-in", max_tokens=1)
    assert answer.headers["x-dormouse-model"] == "dropped-in"
    assert platform.chat(user.key, max_tokens=1).status_code == 200  # and so does the other
    shutil.rmtree(services / "chat/dropped-in")
    platform.until(lambda: platform.chat(user.key, model="dropped-in").status_code == 404, 20)
    assert "dropped-in" not in models(platform, user)
    assert platform.chat(user.key, max_tokens=1).status_code == 200


def test_a_service_that_is_dropped_in_wakes_and_is_gone_when_it_goes(platform, services):
    user = platform.sign_up("chat")
    talk = services / "talk"
    talk.mkdir()
    spec = (services / "chat/service.yaml").read_text().replace("title: Chat", "title: Talk")
    spec = spec.partition("default_model:")[0]
    (talk / "service.yaml").write_text(spec)
    add_model(services, "talk", "talker")
    entitle = {"service": "talk"}
    platform.until(
        lambda: (
            platform.post("/api/v1/entitlements", user.access_token, json=entitle).status_code
            == 201
        ),
        20,
    )
    platform.until(lambda: platform.chat(user.key, model="talker").status_code == 200, 30)
    (predictor,) = platform.predictors(user.key, "talk")
    shutil.rmtree(talk)
    platform.until(lambda: platform.chat(user.key, model="talker").status_code == 404, 20)
    platform.until(lambda: not psutil.pid_exists(predictor["pid"]), 20)
    known = platform.get("/api/v1/status", user.key).json()["services"]
    assert "talk" not in {each["id"] for each in known}
    assert platform.chat(user.key, max_tokens=1).status_code == 200


def test_a_mistake_changes_nothing_and_is_in_the_log(platform, services):
    user = platform.sign_up("chat")
    broken = services / "chat/broken"
    broken.mkdir()
    (broken / "broken.ini").write_text("[model]\ntitle = Broken\n")
    platform.until(lambda: "catalog_is_wrong" in platform.log(), 20)
    assert "broken.ini" in platform.log()
    assert platform.chat(user.key, max_tokens=1).status_code == 200
