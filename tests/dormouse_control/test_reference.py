"""Generated pages are as fresh as the code. If one fails: `make generate`, then commit."""

import ast
import json
import re
from pathlib import Path

from dormouse.error_codes import error_codes
from dormouse.error_types import type_of
from dormouse_control.errors import PlatformError
from dormouse_control.reference import errors_page, openapi_document, settings_page

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
_KINDS = {"CallError", "Refusal", "_reply"}
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
    assert {error.code for error in error_codes()} == _codes()


def test_the_page_of_error_codes_is_fresh():
    assert (REFERENCE / "errors.md").read_text() == errors_page()


def test_codes_come_with_the_statuses_that_are_written_down():
    written = {(error.code, status) for error in error_codes() for status in error.statuses}
    assert {(code, status) for code, status, _ in _raised()} <= written


def test_the_type_of_an_error_follows_from_its_status():
    assert {(status, kind) for _, status, kind in _raised() if kind} <= {
        (status, type_of(status)) for status in range(400, 600)
    }


def _raised() -> set[tuple[str, int, str | None]]:
    """Code, status and type, as far as they stand together in the code."""
    found: set[tuple[str, int, str | None]] = set()
    kinds = [PlatformError]
    while kinds:
        kind = kinds.pop()
        found.add((kind.code, kind.status, kind.type))
        kinds += kind.__subclasses__()
    for folder in ("control-plane", "predictors"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _KINDS:
                    found |= _of_call(node)
    return found


def _of_call(call: ast.Call) -> set[tuple[str, int, str | None]]:
    match [each.value if isinstance(each, ast.Constant) else None for each in call.args[:2]]:
        case [int(status), str(code)]:
            return {(code, status, None)}
    return set()
