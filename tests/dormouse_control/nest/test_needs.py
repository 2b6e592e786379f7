"""From catalogue and settings to what predictors are held to."""

from pathlib import Path

import pytest

from dormouse.catalog import read_catalog
from dormouse_control import predictor_users
from dormouse_control.nest.needs import bytes_of, confinement, cpus_of
from dormouse_control.nest.users import first_choice
from dormouse_control.settings import Settings


@pytest.mark.parametrize(
    ("text", "found"), [("1Gi", 1 << 30), ("512Mi", 512 << 20), ("8Ki", 8192), ("0Gi", 0)]
)
def test_memory_is_read_as_kubernetes_does(text: str, found: int) -> None:
    assert bytes_of(text) == found


@pytest.mark.parametrize(("text", "found"), [("1", 1.0), ("500m", 0.5), ("2.5", 2.5)])
def test_processors_are_read_as_kubernetes_does(text: str, found: float) -> None:
    assert cpus_of(text) == found


def test_each_service_of_ours_has_its_limits_and_sources(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    found = confinement(settings, read_catalog(settings.services))
    chat = found.needs["chat"]
    assert (chat.limits.memory, chat.limits.cpus, chat.sources) == (1 << 30, 1.0, ("builtin",))
    assert found.group is None  # nothing has been arranged
    standard = Settings(home=tmp_path, profile="standard")
    needs = confinement(standard, read_catalog(standard.services)).needs["chat"]
    assert (needs.limits.memory, needs.limits.cpus) == (16 << 30, 4.0)
    assert "hf" in needs.sources


def test_a_group_counts_once_its_folders_are_arranged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    settings = Settings(home=tmp_path, predictor_user="7000")
    settings.run_folder.mkdir()
    catalog = read_catalog(settings.services)
    with pytest.raises(predictor_users.NotArranged, match="run is not open to group 7000"):
        confinement(settings, catalog)
    assert confinement(Settings(home=tmp_path), catalog).group is None  # if that will do
    monkeypatch.setattr(predictor_users, "arranged", lambda *_: True)
    found = confinement(settings, catalog)
    assert (found.group, found.required) == (7000, True)
    users = {name: needs.user for name, needs in found.needs.items()}
    assert len(set(users.values())) == len(users) > 1
    assert users["chat"] == 7000 + first_choice("chat")
