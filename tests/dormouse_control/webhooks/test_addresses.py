"""T57 and T58: where webhooks may go. Tables."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dormouse_control.webhooks.addresses import Allowed, Refused, check, target

NOTHING = Allowed.of(())

INSIDE = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",  # noqa: S104  nothing is bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:808:808",
    "4000::1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81b::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_t57_what_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Refused):
        check("hooks.example.org", [address], NOTHING)
    with pytest.raises(Refused):
        check("hooks.example.org", ["8.8.8.8", address], NOTHING)
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused):
        target(f"https://{literal}/hook", NOTHING)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_public_is_where_to_go(address: str) -> None:
    assert check("hooks.example.org", [address, "8.8.8.8"], NOTHING) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "gopher://hooks.example.org:70/",
        "hooks.example.org/x",
        "//hooks.example.org/x",
        "",
        "https://",
        "https:///x",
        "https://user@hooks.example.org/",
        "https://user:word@hooks.example.org/",
        "https://hooks.example.org#x",
        "https://hooks.example.org/#",
        "https://hooks.example.org:0/",
        "https://hooks.example.org:70000/",
        "https://hooks.example.org:x/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://exämple.org/",
        "https://hooks.example.org/ä",
        "https://hooks.example.org/a b",
        "https://hooks.example.org\\@127.0.0.1/",
        "https://hooks.example.org/\r\nx: y",
        "https://hooks.example.org\t/",
        " https://hooks.example.org/",
        "https://-x.example.org/",
        "https://a..b/",
        "https://hooks.example.org/" + "x" * 2000,
        "https://①②⑦.⓪.⓪.①/",
        "https://%31%32%37.0.0.1/",
    ],
)
def test_t58_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        target(url, NOTHING)


def test_a_url_in_its_parts() -> None:
    found = target("https://Hooks.Example.org:8443/a/b?c=d&e=%20", NOTHING)
    assert (found.scheme, found.host, found.port) == ("https", "hooks.example.org", 8443)
    assert (found.path, found.authority) == ("/a/b?c=d&e=%20", "hooks.example.org:8443")
    assert target("https://hooks.example.org", NOTHING).path == "/"
    assert target("https://[2606:4700::1]/x", NOTHING).authority == "[2606:4700::1]"
    assert target("https://hooks.example.org?x=1", NOTHING).path == "/?x=1"


def test_what_the_operator_allows() -> None:
    allowed = Allowed.of(["Hooks.inside", "10.1.0.0/16", "fd00::/8"])

    assert target("http://hooks.inside/x", allowed).host == "hooks.inside"
    assert check("hooks.inside", ["192.168.0.1"], allowed) == "192.168.0.1"
    assert check("other.inside", ["10.1.2.3"], allowed) == "10.1.2.3"
    assert target("http://10.1.2.3:80/", allowed).authority == "10.1.2.3"
    for wrong in ("http://other.inside/", "http://10.2.0.1/", "https://10.2.0.1/"):
        with pytest.raises(Refused):
            target(wrong, allowed)
    with pytest.raises(Refused):
        check("other.inside", ["10.1.2.3", "10.2.0.1"], allowed)
    with pytest.raises(Refused):
        check("hooks.example.org", [], allowed)


@pytest.mark.parametrize("text", ["", "*", "10.0.0.1/8", "a b", "http://x", "-x", "127.1"])
def test_what_cannot_be_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Allowed.of([text])


@given(some.ip_addresses())
def test_nothing_that_python_does_not_call_global_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    try:
        check("x.example.org", [str(address)], NOTHING)
    except Refused:
        return
    assert address.is_global
