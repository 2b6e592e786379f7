from dormouse.catalog import read_catalog
from dormouse_control.nest.facts import Facts
from dormouse_control.nest.prepare import facts
from dormouse_control.settings import Settings


def test_facts_survive_being_handed_on(tmp_path):
    settings = Settings(home=tmp_path)
    found = facts(settings, read_catalog(settings.services))
    assert found.plans
    assert Facts.from_json(found.to_json()) == found
