"""The Lua that runs inside the gateway."""

import re
from pathlib import Path

from dormouse_control.gateway import slots

_FOLDER = Path(__file__).parent


def script(*, decisions: Path | None) -> str:
    """`decisions` is the file that the authorizer fills; None: every call is asked for."""
    model_name = (_FOLDER / "model_name.lua").read_text()
    if decisions is None:
        return model_name
    admission = (_FOLDER / "admission.lua").read_text()
    facts = {name: str(value) for name, value in vars(slots).items() if name.isupper()}
    facts["PATH"] = str(decisions)
    admission = re.sub(r"@(\w+)@", lambda found: facts[found.group(1)], admission)
    return (_FOLDER / "sha256.lua").read_text() + admission + model_name
