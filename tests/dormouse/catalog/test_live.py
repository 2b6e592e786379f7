"""A catalogue follows its folder; half a copy and a mistake do no harm."""

import shutil
from pathlib import Path

import pytest

from dormouse.catalog import CatalogError, LiveCatalog, read_service

SERVICES = Path(__file__).parents[3] / "services"
MODEL = "dormouse-chat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    (folder / "chat").mkdir(parents=True)
    shutil.copy(SERVICES / "chat" / "service.yaml", folder / "chat")
    (folder / "chat" / "service.yaml").write_text(
        (SERVICES / "chat" / "service.yaml").read_text().replace("  standard: mistral", "  # ")
    )
    add(folder, MODEL)
    return folder


def add(folder: Path, name: str) -> Path:
    target = folder / "chat" / name
    target.mkdir()
    ini = (SERVICES / "chat" / MODEL / f"{MODEL}.ini").read_text()
    path = target / f"{name}.ini"
    path.write_text(ini)
    return path


def models(live: LiveCatalog) -> list[str]:
    return sorted(live.current.services["chat"].models)


def test_what_does_not_change_is_not_read_again(folder: Path) -> None:
    live = LiveCatalog(folder)
    before = live.current
    assert [live.look() for _ in range(3)] == [False] * 3
    assert live.current is before


def test_a_model_folder_that_is_dropped_in_is_there_and_gone_when_it_goes(folder: Path) -> None:
    live = LiveCatalog(folder)
    path = add(folder, "another")
    assert not live.look()  # somebody may still be copying
    assert models(live) == [MODEL]
    assert live.look()
    assert models(live) == ["another", MODEL]
    shutil.rmtree(path.parent)
    assert [live.look(), live.look()] == [False, True]
    assert models(live) == [MODEL]


def test_files_that_go_on_changing_are_waited_for(folder: Path) -> None:
    live = LiveCatalog(folder)
    path = add(folder, "another")
    for size in range(3):
        path.write_text(path.read_text() + "\n" * (size + 1))
        assert not live.look()
    assert live.look()


def test_a_mistake_is_told_once_and_the_one_before_stays(folder: Path) -> None:
    live = LiveCatalog(folder)
    path = add(folder, "another")
    right = path.read_text()
    path.write_text("[model]\ntitle = only this\n")
    assert not live.look()
    with pytest.raises(CatalogError, match=r"another\.ini: .*size_mb"):
        live.look()
    assert not live.look()
    assert models(live) == [MODEL]
    path.write_text(right)
    assert [live.look(), live.look()] == [False, True]
    assert models(live) == ["another", MODEL]


def test_weights_that_still_grow_are_waited_for(folder: Path) -> None:
    live = LiveCatalog(folder)
    parts = add(folder, "another").parent / "parts"
    parts.mkdir()
    # Some programs give a file its name only when it is whole.
    for growing in (parts / "weights.bin", parts / ".weights.bin.x7Gq"):
        for size in range(3):
            growing.write_bytes(bytes(size))
            assert not live.look()
    assert live.look()
    assert models(live) == ["another", MODEL]


def test_an_editors_lock_changes_nothing(folder: Path) -> None:
    live = LiveCatalog(folder)
    path = add(folder, "another")
    for name in (".#another.ini", ".#service.yaml"):
        path.with_name(name).symlink_to("ada@host.1:2")
    path.with_name(".another.ini").write_text("half of it")
    shutil.copytree(path.parent, folder / "chat" / ".another", symlinks=True)
    shutil.copytree(folder / "chat", folder / ".chat", symlinks=True)
    assert [live.look(), live.look()] == [False, True]
    assert models(live) == ["another", MODEL]
    assert set(live.current.services) == {"chat"}
    service, wrong = read_service(folder / "chat")
    assert (sorted(service.models), wrong) == (["another", MODEL], ())


def test_what_could_not_be_read_is_read_once_it_can_be(folder: Path) -> None:
    """By the same files: what was in the way need not have been one of the catalogue's."""
    live = LiveCatalog(folder)
    path = add(folder, "another")
    lost = path.parent.parent / "broken"
    lost.mkdir()
    (lost / "broken.ini").symlink_to(folder / "nowhere")
    assert not live.look()
    with pytest.raises(CatalogError, match=r"broken\.ini"):
        live.look()
    assert [live.look(), live.look()] == [False, False]  # told once
    (lost / "broken.ini").unlink()
    assert live.look()
    assert models(live) == ["another", MODEL]


def test_a_file_nested_too_deep_is_a_mistake_like_others(folder: Path) -> None:
    live = LiveCatalog(folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "service.yaml").write_text("[" * 100_000)
    assert not live.look()
    with pytest.raises(CatalogError, match="deep"):
        live.look()
    assert not live.look()


def test_a_touched_file_is_no_other_catalogue(folder: Path) -> None:
    live = LiveCatalog(folder)
    path = folder / "chat" / MODEL / f"{MODEL}.ini"
    path.write_text(path.read_text() + "\n; a comment\n")
    assert [live.look(), live.look()] == [False, False]


def test_a_folder_that_is_wrong_from_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        LiveCatalog(tmp_path / "nowhere")


def test_one_service_is_read_without_its_mistakes(folder: Path) -> None:
    path = add(folder, "another")
    path.write_text("[model]\ntitle = only this\n")
    service, wrong = read_service(folder / "chat")
    assert set(service.models) == {MODEL}
    assert ["another.ini" in str(error) for error in wrong] == [True]
    with pytest.raises(FileNotFoundError):
        read_service(folder / "nowhere")
