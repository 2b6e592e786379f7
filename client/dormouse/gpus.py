"""The GPUs of this machine, asked for by NVML, the driver's library. Sizes in MiB."""

import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any  # the module pynvml has no types

from dormouse.memory import Gpu, Space
from dormouse.needs import ModelNumbers, Need, need_of

_MIB = 2**20

# An engine's library, and the file that builds of it for GPUs have. Not to be imported here.
_GPU_BUILDS = {"llama": ("llama_cpp", "lib/libggml-cuda*")}


class NoDriver(Exception):
    """No GPU can be asked for; the text says why."""


def open_nvml() -> Any:
    """NVML's module, initialised. Raises `NoDriver`."""
    try:
        import pynvml  # here, because most machines have no GPU
    except ImportError as error:
        raise NoDriver(str(error)) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoDriver(str(error)) from error
    return pynvml


@cache
def built_for_gpus(engine: str) -> bool:
    """Whether the engine's library, as it is installed here, can use a GPU at all."""
    library, file = _GPU_BUILDS.get(engine, ("", ""))
    found = importlib.util.find_spec(library) if library else None
    folders = found.submodule_search_locations if found is not None else None
    return any(any(Path(folder).glob(file)) for folder in folders or ())


def gpus(nvml: Any) -> Iterator[Gpu]:
    """Those that programs see, numbered as CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID. One that
    does not answer is left out."""
    for index, handle in handles(nvml):
        try:
            memory, name = nvml.nvmlDeviceGetMemoryInfo(handle), nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError:
            continue
        yield Gpu(index, Space(memory.total / _MIB, memory.free / _MIB), str(name))


def handles(nvml: Any) -> Iterator[tuple[int, Any]]:
    """NVML's handle of each visible GPU, which may fail when it is used."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        try:
            names = [str(at) for at in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:
            return
    else:
        names = [name.strip() for name in visible.split(",")]
    for index, name in enumerate(names):
        try:
            if name.isdecimal():
                handle = nvml.nvmlDeviceGetHandleByIndex(int(name))
            else:
                handle = nvml.nvmlDeviceGetHandleByUUID(name)
        except nvml.NVMLError:
            if visible is not None:
                return  # CUDA, too, sees none from the first name on that it does not know
            continue
        yield index, handle


def need_here(engine: str, model: ModelNumbers, *, contexts: int = 1) -> Need:
    """As `need_of`, without a GPU if the engine cannot use one as it is installed here."""
    need = need_of(engine, model, contexts=contexts)
    return need if built_for_gpus(engine) else need.without_gpu()
