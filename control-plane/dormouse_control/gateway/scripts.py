"""The Lua that runs inside the gateway."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dormouse_control.gateway import slots

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Bodies:
    """Bytes: the longest body, and of all long ones that each worker holds before it knows whose
    they are."""

    longest: int
    held: int


def script(*, decisions: Path | None, bodies: Bodies | None = None) -> str:
    """`decisions` is the file that the authorizer fills; None: every call is asked for. Without
    `bodies` as many may be on their way as come."""
    parts = [(_FOLDER / "model_name.lua").read_text()]
    if bodies is not None:
        facts = {"MAX_BODY": bodies.longest, "HELD": bodies.held}
        parts.insert(0, _filled("bodies.lua", facts))
    if decisions is not None:
        facts = {name: value for name, value in vars(slots).items() if name.isupper()}
        parts.insert(0, _filled("admission.lua", facts | {"PATH": decisions}))
        parts.insert(0, (_FOLDER / "sha256.lua").read_text())
    return "".join(parts)


def _filled(name: str, facts: Mapping[str, object]) -> str:
    text = (_FOLDER / name).read_text()
    return re.sub(r"@(\w+)@", lambda found: str(facts[found.group(1)]), text)
