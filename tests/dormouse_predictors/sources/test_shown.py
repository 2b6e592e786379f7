"""What of a URL may be said to callers."""

import pytest

from dormouse_predictors.sources.web import shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://host/m.gguf", "https://host/m.gguf"),
        ("https://user:secret@host:8443/m.gguf?token=x#y", "https://host:8443/m.gguf"),
    ],
)
def test_no_credential_of_a_source_is_said(url: str, said: str) -> None:
    assert shown(url) == said
