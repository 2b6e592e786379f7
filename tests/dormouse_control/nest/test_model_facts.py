"""What the nest is told of models says what the catalogue says."""

import json
from dataclasses import asdict
from pathlib import Path

from dormouse.catalog import read_catalog
from dormouse.gpus import need_here
from dormouse_control.nest.model_facts import ModelFacts, model_facts

CATALOG = read_catalog(Path(__file__).parents[3] / "services")


def test_every_offered_model_is_told_and_needs_what_its_ini_says() -> None:
    for profile in ("starter", "standard"):
        told = {(facts.service, facts.model): facts for facts in model_facts(CATALOG, profile)}
        offered = {
            (service.id, model.id): (service, model)
            for service in CATALOG.services.values()
            for model in service.offered(profile).values()
        }
        assert told.keys() == offered.keys()
        for key, (service, model) in offered.items():
            need, contexts = told[key].need(), told[key].contexts
            assert need == need_here(service.spec.engine, model.spec, contexts=contexts)
            assert Path(told[key].ini).is_file()
            assert told[key].key == (*key, profile)


def test_a_context_that_the_ini_states_is_not_estimated() -> None:
    facts = {facts.model: facts for facts in model_facts(CATALOG, "standard")}
    assert facts["mistral-7b-instruct"].need().context_mb == 32768 * 125 / 1000


def test_it_has_as_many_contexts_as_its_service_may_take() -> None:
    standard = {facts.model: facts for facts in model_facts(CATALOG, "standard")}
    # 16 GiB less the weights are 2.6 and 10 times a context and the eighth that growing takes.
    assert standard["mistral-7b-instruct"].contexts == 2
    assert standard["llama-3-8b-instruct"].contexts == 8
    assert standard["bge-small-en-v1.5"].need().contexts == 1


def test_it_can_be_handed_on_as_json() -> None:
    for facts in model_facts(CATALOG, "standard"):
        assert ModelFacts(**json.loads(json.dumps(asdict(facts)))) == facts
