"""Where a browser may be sent: what is not surely ours is refused."""

import pytest

from dormouse_control.errors import InvalidValue
from dormouse_control.oidc.redirects import check, with_result

OURS = [
    "/",
    "/welcome",
    "/welcome/",
    "/keys/new?tab=2&x=%2F",
    "http://127.0.0.1:1",
    "http://127.0.0.1:65535/done?x=1",
    "http://[::1]:8080/",
]
OTHERS = [
    "",
    "welcome",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/%09/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    " //evil.example",
    "/ /evil.example",
    "/welcome\n",
    "/welcome#code",
    "/..//evil.example",
    "/./evil",
    "/a/../b",
    "/a//b",
    "/@evil.example",
    "/welcome;x",
    "/\uff45vil",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "https://evil.example",
    "http://evil.example",
    "https://127.0.0.1:80/",
    "http:/evil.example",
    "http:evil.example",
    "http://127.0.0.1",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:080/",
    "http://127.0.0.1:99999999999/",
    "http://127.0.0.1:80@evil.example/",
    "http://127.0.0.1:80\\@evil.example/",
    "http://user@127.0.0.1:80/",
    "http://127.0.0.1.evil.example:80/",
    "http://127.0.0.1:80//evil.example",
    "http://localhost:80/",
    "http://127.1:80/",
    "http://2130706433:80/",
    "http://[::1].evil.example:80/",
    "http://[::ffff:127.0.0.1]:80/",
    "HTTP://127.0.0.1:80/",
    "http://127.0.0.1:80#@evil.example",
    "http://127.0.0.1:\u0668\u0660/",
    "/" + "a" * 500,
]


@pytest.mark.parametrize("redirect", OURS)
def test_pages_of_ours_and_programs_on_this_machine_are_allowed(redirect: str) -> None:
    assert check(redirect) == redirect


@pytest.mark.parametrize("redirect", OTHERS)
def test_everything_else_is_refused(redirect: str) -> None:
    with pytest.raises(InvalidValue):
        check(redirect)


def test_the_result_replaces_what_pretends_to_be_it() -> None:
    found = with_result("http://127.0.0.1:80/x?a=1&error=no&code=mine", {"code": "c.d"})

    assert found == "http://127.0.0.1:80/x?a=1&code=c.d"
    assert with_result("http://127.0.0.1:80", {"error": "busy"}) == "http://127.0.0.1:80?error=busy"
