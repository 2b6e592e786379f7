"""Wakes whose weights are on the disk only, against reading the same files and no more (C3)."""

import ctypes
import mmap
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite.offers import Offer
from suite.results import Results
from suite.rounds import spread
from suite.whole import Whole

_READERS = 4
_BLOCK = 2**20
_EVERY_SECONDS = 0.01
_PATIENCE = 120
_GONE_SECONDS = 10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def against_reading(results: Results, platform: Whole, llama: Offer, *, rounds: int) -> None:
    """C3: bytes a second from the call's arrival until all of the file is in memory, whatever else
    happens meanwhile. Raises `OSError` where the page cache cannot be emptied of a file."""
    ratios, ours = [], []
    for _ in range(rounds):
        _sleep(platform, llama)
        taken = _woken(platform, llama)
        _sleep(platform, llama)
        ratios.append(_read(llama.path) / taken)
        ours.append(llama.path.stat().st_size / taken / 2**20)
    results.put("C3", spread(ratios))
    results.note("C3: read by a wake, MiB/s", str(spread(ours)))


def _sleep(platform: Whole, offer: Offer) -> None:
    platform.sleep(offer.name)
    forget(offer.path)


def _woken(platform: Whole, offer: Offer) -> float:
    """Seconds until the weights of a sleeping service are in memory."""
    call = threading.Thread(target=platform.ask, args=(offer,))
    began = time.perf_counter()
    call.start()
    while share_in_memory(offer.path) < 1:
        if time.perf_counter() - began > _PATIENCE:
            raise RuntimeError(f"{offer.path.name} was not read within {_PATIENCE} s")
        time.sleep(_EVERY_SECONDS)
    taken = time.perf_counter() - began
    call.join()
    return taken


def _read(path: Path) -> float:
    """Seconds that several threads need for all of it."""
    size = path.stat().st_size
    part = -(-size // _READERS // _BLOCK) * _BLOCK

    def read(start: int) -> None:
        into = bytearray(_BLOCK)
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while file.tell() < min(start + part, size) and file.readinto(into):
                pass

    with ThreadPoolExecutor(_READERS) as pool:
        began = time.perf_counter()
        list(pool.map(read, range(0, size, part)))
        return time.perf_counter() - began


def forget(path: Path) -> None:
    """Out of the page cache with it, as soon as no process that ends has it mapped any more.

    Raises `OSError` if it stays there.
    """
    until = time.monotonic() + _GONE_SECONDS
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        while (left := share_in_memory(path)) > 0:
            if time.monotonic() > until:
                raise OSError(f"{left:.0%} of {path.name} stays in memory")
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            time.sleep(_EVERY_SECONDS)
    finally:
        os.close(handle)


def share_in_memory(path: Path) -> float:
    """Of a file's pages."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    found = ctypes.create_string_buffer(pages)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        place = (ctypes.c_char * size).from_buffer(view)
        address = ctypes.addressof(place)
        failed = _libc.mincore(address, size, found)
        del place
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return found.raw.count(1) / pages
