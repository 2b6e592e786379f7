"""What the nest tells a service's predictors, from catalogue and settings."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dormouse.catalog import Catalog, ServiceSpec, read_catalog
from dormouse_control.nest.plans import plans
from dormouse_control.settings import Settings

SERVICES = Path(__file__).parents[3] / "services"


def plan_of(service, tmp_path, **changed):
    settings = Settings(home=tmp_path, services=SERVICES, **changed)
    [found] = [plan for plan in plans(settings, read_catalog(SERVICES)) if plan.service == service]
    return found


def test_the_profile_decides_which_model_comes_first(tmp_path):
    assert plan_of("chat", tmp_path).first_model == "dormouse-chat"
    assert plan_of("chat", tmp_path, profile="standard").first_model == "mistral-7b-instruct"


def test_the_settings_idle_seconds_win_over_the_services(tmp_path):
    assert plan_of("chat", tmp_path).idle_seconds == 300
    assert plan_of("chat", tmp_path, idle_seconds=7).idle_seconds == 7


@pytest.mark.parametrize(("profile", "cpu"), [("starter", 1), ("standard", 4)])
def test_threads_follow_the_cpus_that_the_service_may_use(tmp_path, profile, cpu):
    config = plan_of("chat", tmp_path, profile=profile).config
    assert config["threads"] == min(cpu, os.cpu_count())


def test_every_predictor_has_a_spool_of_its_service(tmp_path):
    assert plan_of("embeddings", tmp_path).config["spool"] == str(tmp_path / "spool/embeddings")
    assert plan_of("embeddings", tmp_path).config["meters_folder"] == str(tmp_path / "run")


@pytest.mark.parametrize(("profile", "gpus"), [("starter", 0), ("standard", 1)])
def test_gpus_are_the_profiles(tmp_path, profile, gpus):
    assert plan_of("chat", tmp_path, profile=profile).gpus == gpus


@pytest.mark.parametrize(
    ("changes", "fewest"),
    [
        ({}, 0),
        ({"placement": "dedicated"}, 1),
        ({"scale": {"min_replicas": 2, "max_replicas": 3}, "placement": "dedicated"}, 2),
        ({"scale": {"min_replicas": 2, "max_replicas": 3}}, 2),
    ],
)
def test_dedicated_is_at_least_one(tmp_path, changes, fewest):
    catalog = read_catalog(SERVICES)
    chat = catalog.services["chat"]
    spec = ServiceSpec.model_validate(chat.spec.model_dump() | changes)
    changed = Catalog({"chat": replace(chat, spec=spec)})
    [plan] = plans(Settings(home=tmp_path, services=SERVICES), changed)
    assert plan.min_replicas == fewest


def test_windows_and_ageing_get_through(tmp_path):
    settings = Settings(home=tmp_path, services=SERVICES, ageing_seconds=7)
    chat = read_catalog(SERVICES).services["chat"]
    window = "Mon-Fri 08:00-18:00 Europe/Madrid"
    spec = ServiceSpec.model_validate(chat.spec.model_dump() | {"scale": {"keep_warm": [window]}})
    [plan] = plans(settings, Catalog({"chat": replace(chat, spec=spec)}))
    assert (plan.keep_warm, plan.ageing_seconds, plan.max_replicas) == ((window,), 7, 1)
    assert plan.config["ageing_seconds"] == 7  # most calls wait at the predictor
