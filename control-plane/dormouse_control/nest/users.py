"""Which user the predictors of a service are: never that of another service.

Kept in a file, so that neither a service that comes nor one that goes changes another's: files in
spools are their users' own. A number is relative to the predictors' group.
"""

import json
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

from dormouse_control import private_files

MOST = 500


class TooManyServices(Exception):
    """There are fewer users than services."""


def first_choice(service: str) -> int:
    """From 1 to `MOST`. By its name, so that it is likely to be the same if the file is lost."""
    return 1 + zlib.crc32(service.encode()) % MOST


def assigned(kept: Mapping[str, int], services: Collection[str]) -> dict[str, int]:
    """A number of its own for each service, with those of services that are gone as long as there
    is room. Raises `TooManyServices`."""
    found = dict(kept)
    if len(found.keys() | set(services)) > MOST:
        found = {service: kept[service] for service in kept if service in set(services)}
    taken = set(found.values())
    for service in sorted(set(services) - set(found)):
        if len(taken) == MOST:
            raise TooManyServices(f"there are users for {MOST} services")
        number = first_choice(service)
        while number in taken:
            number = number % MOST + 1
        found[service] = number
        taken.add(number)
    return found


def numbers(file: Path, services: Collection[str]) -> dict[str, int]:
    """As kept in the file, where what is new is added. Raises `TooManyServices`, OSError."""
    with private_files.locked(file.parent):
        found = assigned(_kept(file), services)
        private_files.write(file, json.dumps(found, indent=1, sort_keys=True).encode())
    return {service: found[service] for service in services}


def _kept(file: Path) -> dict[str, int]:
    """Nothing if it is damaged: most services get the same number again."""
    try:
        found = json.loads(file.read_text())
        numbers = [int(each) for each in found.values()]
        right = len(set(numbers)) == len(numbers) and all(1 <= each <= MOST for each in numbers)
        return dict(zip(found, numbers, strict=True)) if right else {}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
