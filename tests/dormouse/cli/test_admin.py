"""`dormouse admin`, `invitations`, `verify`, `reset`, and a signup that does not sign in."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

ACCOUNT = {"id": "usr_1", "email": "ada@example.org", "status": "active"}
PASSWORD = "correct horse battery"


class Local:
    """The platform's own socket: knows ada, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.local.asked.append((self.path, body))
        known = "password" in body or body["email"] == "ada@example.org"
        answer: Any = ACCOUNT | {"email": body["email"]}
        if not known:
            answer = {"error": {"code": "not_found", "message": "No such account."}}
        content = json.dumps(answer).encode()
        self.send_response(201 if known else 404)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path / "platform"))
    (tmp_path / "platform" / "run").mkdir(parents=True)
    path = tmp_path / "platform" / "run" / "admin.sock"
    local = Local()
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.local = local  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield local
        server.shutdown()
        thread.join()


def test_who_owns_the_files_promotes_an_account(local: Local, run: Any) -> None:
    done = run("admin", "create", "ada@example.org")

    assert (done.exit_code, done.stdout) == (0, "ada@example.org is an administrator.\n")
    assert local.asked == [("/local/v1/administrators", {"email": "ada@example.org"})]


def test_who_owns_the_files_makes_a_new_administrator(local: Local, run: Any) -> None:
    email = "root@example.org"
    done = run("admin", "create", email, "--password-stdin", "--json", stdin=f"{PASSWORD}\n")

    assert json.loads(done.stdout)["email"] == email
    body = {"email": email, "password": PASSWORD}
    assert local.asked == [("/local/v1/administrators", body)]


def test_a_new_one_without_a_terminal_is_told_how(local: Local, run: Any) -> None:
    done = run("admin", "create", "root@example.org")

    assert done.exit_code == 2
    assert "--password-stdin" in done.stderr
    assert len(local.asked) == 1


def test_without_a_platform_here_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path / "nothing"))
    done = run("admin", "create", "ada@example.org")

    assert done.exit_code == 1
    assert "no platform of yours runs in" in done.stderr
    assert "(no_platform_here)" in done.stderr


def test_a_dead_platforms_socket_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setenv("DORMOUSE_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run" / "admin.sock"))
    done = run("admin", "create", "ada@example.org")

    assert done.exit_code == 1
    assert "(no_platform_here)" in done.stderr


def test_the_token_makes_the_first_administrator(platform: Any, run: Any) -> None:
    answers(platform, "POST", "/api/v1/administrators", 201, ACCOUNT)
    done = run(
        "admin", "create", "ada@example.org", "--token", "ott_1.x", "--password-stdin",
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    (asked,) = platform.asked("POST", "/api/v1/administrators")
    assert asked.body == {"token": "ott_1.x", "email": "ada@example.org", "password": PASSWORD}


def test_verify(platform: Any, run: Any) -> None:
    answers(platform, "POST", "/api/v1/verifications/confirm", 200, ACCOUNT)
    done = run("verify", "ott_1.x")

    assert "ada@example.org is verified" in done.stdout
    (asked,) = platform.asked("POST", "/api/v1/verifications/confirm")
    assert asked.body == {"token": "ott_1.x"}
    assert "authorization" not in asked.headers
    assert "Next: dormouse login" in done.stderr


def test_verify_says_what_a_verified_account_waits_for(platform: Any, run: Any) -> None:
    waiting = ACCOUNT | {"status": "pending"}
    answers(platform, "POST", "/api/v1/verifications/confirm", 200, waiting)
    assert "An administrator has to approve" in run("verify", "ott_1.x").stderr


def test_the_mail_that_verifies_can_be_had_again(platform: Any, run: Any) -> None:
    answers(platform, "POST", "/api/v1/verifications", 202, {})
    done = run("verify", "--again", "ada@example.org")

    assert done.stdout == "If ada@example.org waits for it, a mail is on its way.\n"
    (asked,) = platform.asked("POST", "/api/v1/verifications")
    assert asked.body == {"email": "ada@example.org"}
    for wrong in ((), ("ott_1.x", "--again", "ada@example.org")):
        assert run("verify", *wrong).exit_code == 2


def test_reset_asks_for_mail_and_then_takes_the_token(platform: Any, run: Any) -> None:
    answers(platform, "POST", "/api/v1/resets", 202, {})
    answers(platform, "POST", "/api/v1/resets/confirm", 204, None)

    first = run("reset", "ada@example.org")
    second = run("reset", "--token", "ott_1.x", "--password-stdin", stdin=f"{PASSWORD}\n")

    assert (first.stdout, second.exit_code) == (
        "If ada@example.org has an account, a mail is on its way.\n",
        0,
    )
    (asked,) = platform.asked("POST", "/api/v1/resets/confirm")
    assert asked.body == {"token": "ott_1.x", "password": PASSWORD}


@pytest.mark.parametrize("arguments", [(), ("ada@example.org", "--token", "x")])
def test_reset_wants_one_of_both(run: Any, arguments: tuple[str, ...]) -> None:
    assert run("reset", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("status", "said"), [("unverified", "open the link"), ("pending", "has to approve")]
)
def test_an_account_that_waits_is_not_signed_in(
    platform: Any, run: Any, credentials: Path, status: str, said: str
) -> None:
    answers(platform, "POST", "/api/v1/registrations", 201, ACCOUNT | {"status": status})
    arguments = ("--email", "ada@example.org", "--password-stdin", "--invitation", "inv_1.x")
    done = run("signup", *arguments, stdin=f"{PASSWORD}\n")

    assert said in done.stdout
    assert not credentials.exists()
    (asked,) = platform.asked("POST", "/api/v1/registrations")
    assert asked.body["invitation"] == "inv_1.x"


def test_invitations(platform: Any, signed_in: Any) -> None:
    made = {"id": "inv_1", "email": None, "tier": "standard", "token": "inv_1.x"}
    answers(platform, "POST", "/api/v1/invitations", 201, made)
    answers(platform, "GET", "/api/v1/invitations", 200, {"items": [made], "next": None})
    answers(platform, "DELETE", "/api/v1/invitations/inv_1", 204, None)

    assert signed_in("invitations", "create", "--group", "grp_1").stdout == "inv_1.x\n"
    assert "anybody" in signed_in("invitations", "list").stdout
    assert signed_in("invitations", "revoke", "inv_1").stdout == "Revoked inv_1.\n"
    (asked,) = platform.asked("POST", "/api/v1/invitations")
    assert set(asked.body) == {"mail", "groups", "expires_at"}


def test_a_closed_registration_says_what_it_takes(platform: Any, run: Any) -> None:
    error = {"error": {"code": "invitation_required", "message": "Only who is invited may."}}
    answers(platform, "POST", "/api/v1/registrations", 403, error)
    done = run("signup", "--email", "a@b.c", "--password-stdin", stdin=f"{PASSWORD}\n")

    assert done.exit_code == 1
    assert "--invitation TOKEN" in done.stderr


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("admin", "grant", "usr_1", "chat"), "/api/v1/users/usr_1/entitlements/chat"),
        (("admin", "groups", "grant", "grp_1", "chat"), "/api/v1/groups/grp_1/entitlements/chat"),
    ],
)
def test_a_right_ends_as_a_key_does(
    platform: Any, signed_in: Any, command: tuple[str, ...], path: str
) -> None:
    answers(platform, "GET", "/api/v1/users/usr_1", 200, ACCOUNT)
    answers(platform, "PUT", path, 200, {"user": "usr_1", "service": "chat"})
    done = signed_in(*command, "--expires", "30d")
    assert done.exit_code == 0, done.stderr
    (asked,) = platform.asked("PUT", path)
    left = datetime.fromisoformat(asked.body["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert signed_in(*command, "--expires", "soon").exit_code == 2


def answers(platform: Any, method: str, path: str, status: int, body: Any) -> None:
    def reply(_request: Any, reply: Any) -> None:
        if body is None:
            reply.raw(status, b"")
        else:
            reply.json(status, body)

    platform.always(method, path, reply)
