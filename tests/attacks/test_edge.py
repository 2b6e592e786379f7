"""T34, T112, T115: what browsers, caches and curious people are given by the control plane."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attacks.matrix import content
from dormouse_control.safe_headers import SAFE_HEADERS
from fixtures.operations import PARAMETER, operations

ROOT = Path(__file__).parents[2]
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
ACCOUNT = {"email": "eve@example.org", "password": "correct horse battery"}
# What a page may send to us without asking first (the Fetch standard's safelisted types), and more.
BODIES: dict[str, bytes] = {
    "application/x-www-form-urlencoded": b"email=eve%40example.org&password=correct+horse+battery",
    "text/plain": json.dumps(ACCOUNT).encode(),
    "text/plain;charset=application/json": json.dumps(ACCOUNT).encode(),
    "multipart/form-data; boundary=x": b'--x\r\ncontent-disposition: form-data; name="email"\r\n'
    b"\r\neve@example.org\r\n--x--\r\n",
    "": json.dumps(ACCOUNT).encode(),
}
ORIGINS = ("null", "https://evil.example", "http://127.0.0.1:5000", "file://")


def every_operation(client: Any) -> list[Any]:
    return operations(client.get("/api/v1/openapi.json").json())


def cross_site(origin: str, kind: str = "") -> dict[str, str]:
    """As a browser sends it for a page that wants to use our cookies or our address."""
    headers = {"origin": origin, "sec-fetch-mode": "no-cors", "sec-fetch-site": "cross-site"}
    headers |= {"cookie": "session=x; authorization=Bearer x", "referer": "https://evil.example/"}
    return headers | ({"content-type": kind} if kind else {})


def allows_other_origins(answer: Any) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("kind", BODIES)
def test_t34_no_page_of_others_changes_anything(client, platform, ada, kind, origin) -> None:
    unsafe = [each for each in every_operation(client) if each.method in UNSAFE]
    before = content(platform)
    for operation in unsafe:
        answer = client.request(
            operation.method,
            PARAMETER.sub("x", operation.path),
            content=BODIES[kind],
            headers=cross_site(origin, kind),
        )
        # 422: nobody is asked for, but what was sent is not taken for JSON.
        expected = 401 if operation.role else 422
        assert answer.status_code == expected, f"{operation.id}: {answer.text}"
        assert allows_other_origins(answer) == []

    assert len(unsafe) > 25
    assert content(platform) == before
    assert ada.get("/api/v1/me").status_code == 200


@pytest.mark.parametrize("origin", ORIGINS)
def test_t34_a_browser_that_asks_first_is_refused(client, origin) -> None:
    for operation in every_operation(client):
        asked = cross_site(origin) | {
            "access-control-request-method": operation.method,
            "access-control-request-headers": "authorization, content-type",
        }
        answer = client.options(PARAMETER.sub("x", operation.path), headers=asked)
        assert answer.status_code == 405, operation.id
        assert allows_other_origins(answer) == []


def test_t34_no_answer_may_be_read_by_another_origin(ada) -> None:
    for path in ("/api/v1/me", "/api/v1/keys", "/v1/models", "/healthz", "/.well-known/jwks.json"):
        answer = ada.client.get(
            path, headers={"origin": "null", "authorization": f"Bearer {ada.access_token}"}
        )
        assert answer.status_code == 200
        assert allows_other_origins(answer) == []
        assert "set-cookie" not in answer.headers


def test_t112_every_answer_stays_out_of_caches_and_frames(client, administrator) -> None:
    """Of each operation: refused, wrong and right."""
    seen = []
    bearer = {"authorization": f"Bearer {administrator.access_token}"}
    for operation in every_operation(client):
        path = PARAMETER.sub("x", operation.path)
        for headers in ({}, bearer):
            seen.append((operation, client.request(operation.method, path, headers=headers)))
    for method, path in (("GET", "/nothing"), ("TRACE", "/api/v1/me"), ("OPTIONS", "/api/v1/me")):
        seen.append((f"{method} {path}", client.request(method, path)))
    too_long = b"x" * (1024 * 1024 + 1)
    seen.append(("too long", client.post("/api/v1/sessions", content=too_long)))

    assert {answer.status_code for _, answer in seen} >= {200, 401, 404, 405, 413, 422}
    for operation, answer in seen:
        missing = {
            name: answer.headers.get(name)
            for name, value in SAFE_HEADERS.items()
            if answer.headers.get(name) != value
        }
        if "jwks" in answer.url.path:
            assert missing.pop("cache-control") == "public, max-age=300"
        if answer.url.path.startswith("/account"):
            assert "frame-ancestors 'none'" in missing.pop("content-security-policy")
        assert missing == {}, operation


def test_t112_the_headers_are_these(client) -> None:
    headers = client.get("/api/v1/me").headers

    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/openapi.json", "/debug", "/metrics", "/api/v1/docs", "/debug/pprof",
     "/admin", "/console", "/internal/v1/principals", "/local/v1/administrators"],
)  # fmt: skip
def test_t115_there_is_nothing_to_look_behind_the_curtain_with(client, path) -> None:
    for method in ("GET", "POST"):
        assert client.request(method, path).status_code == 404


def test_t115_nothing_runs_in_a_mode_for_developers(client) -> None:
    assert client.app.debug is False
    assert client.app.docs_url is None
    assert client.app.redoc_url is None


def _narrows(test: ast.expr) -> bool:
    """Says only what holds anyway, for mypy: `x is not None`, `isinstance(…)`, a kind of scope."""
    if isinstance(test, ast.Compare):
        [other] = test.comparators
        is_none = isinstance(other, ast.Constant) and other.value is None
        return is_none or ast.unparse(test) == "scope['type'] == 'http'"
    return isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance"


def test_t115_no_check_is_an_assert() -> None:
    """`python -O` leaves them out."""
    files = [*(ROOT / "control-plane").rglob("*.py"), *(ROOT / "client").rglob("*.py")]
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert) and not _narrows(node.test)
    ]

    assert len(files) > 100
    assert found == []


def test_t115_nothing_depends_on_asserts() -> None:
    """The attacks on cursors, tokens and keys, where asserts are left out of our code."""
    tests = ["test_cursors.py", "test_idempotency.py::test_t108_a_key_is_short_printable_ascii"]
    ended = subprocess.run(
        [
            *(sys.executable, "-O", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *("-W", "ignore::pytest.PytestConfigWarning"),
            *(str(ROOT / "tests" / "attacks" / name) for name in tests),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert " passed" in ended.stdout
