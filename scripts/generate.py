"""Writes what is generated from the control plane: OpenAPI document, settings, error codes."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    from dormouse_control.reference import errors_page, openapi_document, settings_page

    reference = ROOT / "docs" / "reference"
    (reference / "openapi.json").write_text(json.dumps(openapi_document(), indent=1) + "\n")
    (reference / "errors.md").write_text(errors_page())
    (reference / "settings.md").write_text(settings_page())


if __name__ == "__main__":
    sys.exit(main())
