import pytest

from dormouse_control.errors import InvalidValue
from dormouse_control.identity.emails import canonical


@pytest.mark.parametrize(
    "spelling",
    [
        "ada@example.org",
        "Ada@EXAMPLE.org",
        " ada@example.org ",
        "\uff41\uff44\uff41@example.org",
        "ada@example\uff0eorg",
    ],
)
def test_spellings_of_one_address_are_one(spelling: str) -> None:
    assert canonical(spelling) == "ada@example.org"


def test_folding_is_complete() -> None:
    assert canonical("STRASSE@x.de") == canonical("straße@x.de")
    assert canonical(canonical("ϓ́@x.de")) == canonical("ϓ́@x.de")


def test_a_domain_with_other_letters_has_the_form_that_mail_servers_use() -> None:
    assert canonical("ada@Bücher.example") == canonical("ada@xn--bcher-kva.example")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "a@b@c",
        "a da@example.org",
        "ada@example.org.",
        "ada@.org",
        "ada@a..b",
        "ada\x00@example.org",
        "ada\u202e@example.org",
        "a,b@example.org",
        "ada<eve@example.org",
        "ada@[127.0.0.1]",
        "=?utf-8?q??=@example.org",
        "a" * 65 + "@example.org",
        "a@" + "b" * 260,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        canonical(text)
