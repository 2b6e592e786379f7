"""T34: the names under which the gateway answers, so that a foreign page cannot lend it one."""

import contextlib
import http.client
import json

import httpx
import pytest

from dormouse_control.gateway.envoy import envoy_config
from dormouse_control.gateway.hosts import EVERY, LOOPBACK, served_hosts
from dormouse_control.gateway.run import gateway as facts_of
from dormouse_control.settings import Settings

PATHS = ["/healthz", "/api/v1/keys", "/v1/models", "/models", "/v1/chat/completions", "/m/x/v1/x"]


def ask(gateway, *hosts: str, path: str = "/healthz", method: str = "GET") -> tuple[int, str, str]:
    """Status, kind and text; byte for byte, because other clients correct such headers."""
    connection = http.client.HTTPConnection("127.0.0.1", httpx.URL(gateway.url).port, timeout=5)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True)
        for host in hosts:
            connection.putheader("host", host)
        connection.putheader("content-length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read().decode()


@pytest.mark.parametrize("port", ["", ":5000", ":80", ":65535"])
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "[::1]",
        "models.example.org",
        "other.example.org",
        "a.inside.example.org",
    ],
)
def test_its_own_names_are_served_with_any_port(gateway, host, port):
    assert ask(gateway, host + port)[0] == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.2",
        "0.0.0.0",  # noqa: S104
        "[::]",
        "localhost.",
        "inside.example.org",
        "models.example.org.evil.example",
        "x",
    ],
)
def test_t34_other_names_are_refused_and_reach_nobody(gateway, host, method, path):
    status, kind, text = ask(gateway, host, path=path, method=method)

    assert (status, kind) == (421, "application/json")
    assert json.loads(text)["error"]["code"] == "wrong_host"
    recorders = (gateway.authorizer, gateway.control_plane, gateway.predictor)
    assert [recorder.seen for recorder in recorders] == [[], [], []]


def test_t34_two_host_headers_are_refused(gateway):
    assert ask(gateway, "localhost", "evil.example")[0] in (400, 421)
    assert ask(gateway, "evil.example", "localhost")[0] in (400, 421)
    assert gateway.control_plane.seen == []


def test_t34_a_name_in_the_request_line_counts_as_the_host(gateway):
    assert ask(gateway, "localhost", path="http://evil.example/healthz")[0] == 421
    assert gateway.control_plane.seen == []


@pytest.mark.parametrize(
    ("listens", "url", "allowed", "served"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000", (), LOOPBACK),
        ("::1", "http://[::1]:5000", (), LOOPBACK),
        ("localhost", "https://a.b/", ("c",), (*LOOPBACK, "a.b", "c")),
        ("127.0.0.1", "http://x", ("*",), EVERY),
        ("0.0.0.0", "https://a.b", (), EVERY),  # noqa: S104
        ("::", "https://a.b", (), EVERY),
        ("10.0.0.1", "https://a.b", ("c",), (*LOOPBACK, "10.0.0.1", "a.b", "c")),
    ],
)
def test_which_names_follow_from_settings(listens, url, allowed, served):
    assert served_hosts(host=listens, public_url=url, allowed=allowed) == served


def test_the_settings_reach_the_gateway(tmp_path):
    settings = Settings(home=tmp_path, allowed_hosts="a.example, b.example")
    config = envoy_config(facts_of(settings), lua="")
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    hosts = manager["typed_config"]["route_config"]["virtual_hosts"]

    assert hosts[0]["domains"] == ["localhost", "127.0.0.1", "[::1]", "a.example", "b.example"]
    assert hosts[1]["domains"] == ["*"]
    assert hosts[1]["routes"][0]["direct_response"] == {"status": 421}
