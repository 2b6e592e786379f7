"""Generated pages are as fresh as the code. If one fails: `make generate`, then commit."""

import json
from pathlib import Path

from dormouse_control.reference import openapi_document, settings_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_settings_page_is_fresh():
    assert (REFERENCE / "settings.md").read_text() == settings_page()


def test_the_openapi_document_is_fresh():
    written = json.loads((REFERENCE / "openapi.json").read_text())
    assert written == json.loads(json.dumps(openapi_document()))


def test_every_setting_is_described():
    assert "| None |" not in settings_page()
