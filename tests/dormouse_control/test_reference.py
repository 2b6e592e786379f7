"""Generated pages are as fresh as the code. If one fails: `make generate`, then commit."""

import json
import re
from pathlib import Path

from dormouse_control.errors import PlatformError
from dormouse_control.reference import openapi_document, settings_page

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
_RAISED = re.compile(
    r"""\b(?:CallError|Refusal|Refused|StartFailed|_reply|refuse)\("""
    r"""\s*(?:\w+,\s*)?(?:"\d{3}",\s*)?(?:"[a-z_]+_error",\s*)?"([a-z_]+)\""""
    r"""|\bcode="([a-z_]+)\"|"code": "([a-z_]+)\""""
)


def test_the_settings_page_is_fresh():
    assert (REFERENCE / "settings.md").read_text() == settings_page()


def test_the_openapi_document_is_fresh():
    written = json.loads((REFERENCE / "openapi.json").read_text())
    assert written == json.loads(json.dumps(openapi_document()))


def test_every_setting_is_described():
    assert "| None |" not in settings_page()


def _codes() -> set[str]:
    found, kinds = set(), [PlatformError]
    while kinds:
        kind = kinds.pop()
        found.add(kind.code)
        kinds += kind.__subclasses__()
    for folder in ("control-plane", "predictors"):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in (".py", ".lua"):
                found.update(filter(None, sum(_RAISED.findall(file.read_text("utf-8")), ())))
    return found


def test_every_error_code_is_explained_and_no_other():
    page = (REFERENCE / "errors.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+)` \| \d{3}", page, re.MULTILINE)) == _codes()
