from dormouse_control.nest.facts import Facts
from dormouse_control.nest.prepare import facts
from dormouse_control.settings import Settings


def test_facts_survive_being_handed_on(tmp_path):
    found = facts(Settings(home=tmp_path))
    assert found.plans
    assert Facts.from_json(found.to_json()) == found
