import pytest

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources import hub


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("owner/repo", ("owner/repo", "main", None)),
        ("owner/repo@v1.0", ("owner/repo", "v1.0", None)),
        ("owner/repo/a.gguf", ("owner/repo", "main", "a.gguf")),
        ("owner/repo@abc/sub/a.gguf", ("owner/repo", "abc", "sub/a.gguf")),
    ],
)
def test_names(name: str, parts: tuple[str, str, str | None]) -> None:
    assert hub.parse(name) == parts


@pytest.mark.parametrize("name", ["repo", "", "owner/repo@", "owner/repo/../x", "../x/y", "a b/c"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(WeightsError):
        hub.parse(name)
