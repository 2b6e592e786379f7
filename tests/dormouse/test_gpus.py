"""GPUs as NVML tells of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dormouse.gpus import NoDriver, built_for_gpus, gpus, need_here, open_nvml
from dormouse.memory import Gpu, Space
from dormouse.needs import need_of
from fixtures.nvml import Card, FakeNvml, Memory, Process

MODEL = SimpleNamespace(
    size_mb=10.0, layers=2, context=100, parameters=1000, kv_mb_per_1000_tokens=None
)


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_gpu_with_what_is_free() -> None:
    found = list(gpus(FakeNvml(Card(16_000, used=1000), Card(80_000))))
    assert found == [
        Gpu(0, Space(16_000, 15_000), "NVIDIA Fake 16000"),
        Gpu(1, Space(80_000, 80_000), "NVIDIA Fake 80000"),
    ]


def test_one_that_does_not_answer_is_left_out() -> None:
    nvml = FakeNvml(Card(1000, lost=True), Card(2000))
    assert [gpu.index for gpu in gpus(nvml)] == [1]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", [(0, 2000)]),
        ("2,0", [(0, 3000), (1, 1000)]),
        ("GPU-1, 0", [(0, 2000), (1, 1000)]),
        ("", []),
        ("-1", []),
        ("0,7,1", [(0, 1000)]),
    ],
)
def test_what_cuda_does_not_see_is_not_there(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = gpus(FakeNvml(Card(1000), Card(2000), Card(3000)))
    assert [(gpu.index, gpu.space.total_mb) for gpu in found] == expected


def test_a_driver_that_fails_altogether_shows_no_gpus() -> None:
    class Broken(FakeNvml):
        def nvmlDeviceGetCount(self) -> int:
            raise self.NVMLError("Unknown Error")

    assert list(gpus(Broken(Card(1000)))) == []


def test_no_package_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoDriver, match="pynvml"):
        open_nvml()


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutDriver(FakeNvml):
        def nvmlInit(self) -> None:
            raise self.NVMLError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", WithoutDriver())
    with pytest.raises(NoDriver, match="Not Found"):
        open_nvml()


def test_a_driver_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(Card(1000))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert open_nvml() is fake
    assert fake.inits == 1


def test_the_fake_has_the_names_of_the_real_module(
    require: Callable[[str, bool, str], None],
) -> None:
    try:
        import pynvml
    except ImportError:
        require("nvml", False, "nvidia-ml-py is not installed")
    ours = [name for name in dir(FakeNvml) if name.lower().startswith("nvml")]
    assert len(ours) == 8
    assert [name for name in ours if not callable(getattr(pynvml, name, None))] == []
    real = {name for name, _ in pynvml.c_nvmlMemory_t._fields_}
    assert set(Memory.__dataclass_fields__) <= real
    told = {name for name, _ in pynvml.c_nvmlProcessInfo_v2_t._fields_}
    assert set(Process.__dataclass_fields__) <= told


def test_a_build_without_gpus_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "llama_cpp"
    (library / "lib").mkdir(parents=True)
    (library / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)  # some other test's, the real one
    built_for_gpus.cache_clear()
    assert need_here("llama", MODEL) == need_of("llama", MODEL).without_gpu()
    (library / "lib" / "libggml-cuda.so").touch()
    assert not need_here("llama", MODEL).gpu  # until the process starts again
    built_for_gpus.cache_clear()
    assert need_here("llama", MODEL) == need_of("llama", MODEL)
    built_for_gpus.cache_clear()


def test_an_engine_that_uses_none_needs_none() -> None:
    assert not need_here("transformers-embeddings", MODEL).gpu
