import json
import termios
from pathlib import Path
from typing import Any

EMAIL = "eve@example.org"


def test_signing_up_signs_in(platform: Any, run: Any, credentials: Path) -> None:
    done = run("signup", "--email", EMAIL, "--password-stdin", stdin="secret word\r\n")
    assert done.exit_code == 0
    assert f"Welcome, {EMAIL}" in done.stdout
    assert platform.users[EMAIL] == "secret word"
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert run("services").exit_code == 0


def test_signing_up_twice_is_refused(run: Any) -> None:
    done = run("signup", "--email", "ada@example.org", "--password-stdin", stdin="x\n")
    assert done.exit_code == 1
    assert "(email_taken). Try: dormouse login" in done.stderr


def test_json_is_the_only_thing_on_stdout(run: Any) -> None:
    done = run("signup", "--email", EMAIL, "--password-stdin", "--json", stdin="secret word\n")
    assert json.loads(done.stdout) == {"id": "usr_1", "email": EMAIL, "status": "active"}
    done = run("login", "--email", EMAIL, "--password-stdin", "--json", stdin="secret word\n")
    assert json.loads(done.stdout)["email"] == EMAIL
    done = run("logout", "--json")
    assert json.loads(done.stdout)["signed_in"] is False


def test_signing_in_and_out(platform: Any, signed_in: Any) -> None:
    assert signed_in("services").exit_code == 0
    done = signed_in("logout")
    assert (done.exit_code, done.stdout) == (0, f"Signed out at {platform.url}.\n")
    assert platform.refresh == {}
    done = signed_in("services")
    assert done.exit_code == 1
    assert "(missing_credentials). Try: dormouse login" in done.stderr
    assert signed_in("logout").exit_code == 0


def test_signing_out_ends_the_session_even_with_a_key_in_the_environment(
    platform: Any, signed_in: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DORMOUSE_API_KEY", "dm_test")
    assert signed_in("logout").exit_code == 0
    assert platform.refresh == {}


def test_signing_out_works_without_the_server(
    platform: Any, signed_in: Any, credentials: Path
) -> None:
    platform.always("DELETE", "/api/v1/sessions/current", lambda _, reply: reply.break_off())
    done = signed_in("logout")
    assert done.exit_code == 0
    assert "was not reached" in done.stderr
    assert json.loads(credentials.read_text()) == {"servers": {}}


def test_a_wrong_password_leaves_nothing(run: Any, credentials: Path) -> None:
    done = run("login", "--email", "ada@example.org", "--password-stdin", stdin="wrong\n")
    assert done.exit_code == 1
    assert "(invalid_credentials). Check email and password." in done.stderr
    assert not credentials.exists()


def test_without_a_terminal_nothing_is_asked(platform: Any, run: Any) -> None:
    for arguments in (
        ("login",),
        ("login", "--email", EMAIL),
        ("login", "--password-stdin"),
        ("signup", "--email", EMAIL, "--password-stdin"),
    ):
        done = run(*arguments, stdin="")
        assert done.exit_code == 2
        assert "password" in done.stderr
    assert platform.requests == []


def test_at_a_terminal_the_password_is_asked_and_hidden(platform: Any, terminal: Any) -> None:
    shown = terminal("signup")
    shown.wait_for("Email: ")
    shown.type(f"{EMAIL}\n")
    shown.wait_for("Password: ")
    shown.wait_without(termios.ECHO)
    shown.type("secret word\n")
    shown.wait_for("Repeat")
    shown.wait_without(termios.ECHO)
    shown.type("secret word\n")
    assert shown.exit_code() == 0
    assert "secret" not in shown.screen
    assert platform.users[EMAIL] == "secret word"


def test_ctrl_c_at_a_question_exits_130(terminal: Any) -> None:
    shown = terminal("login", "--email", EMAIL)
    shown.wait_for("Password: ")
    shown.wait_without(termios.ECHO)
    shown.interrupt()
    assert shown.exit_code() == 130
    assert "Traceback" not in shown.screen
