"""`dormouse passwd`, `second-factor`, `sessions`, and signing in with a code."""

import json
from typing import Any

import pytest

EMAIL = "ada@example.org"
LOGIN = ("login", "--email", EMAIL, "--password-stdin")


def test_a_code_is_sent_with_the_password(platform: Any, run: Any) -> None:
    platform.code = "123456"
    done = run(*LOGIN, stdin="correct horse\n")
    assert done.exit_code == 1
    assert "(second_factor_required). Give it with --code." in done.stderr
    assert run(*LOGIN, "--code", "000000", stdin="correct horse\n").exit_code == 1
    done = run(*LOGIN, "--code", "123456", stdin="correct horse\n")
    assert (done.exit_code, done.stdout) == (0, f"Signed in as {EMAIL} at {platform.url}.\n")


def test_at_a_terminal_the_code_is_asked_for_when_it_is_needed(
    platform: Any, terminal: Any
) -> None:
    platform.code = "123456"
    shown = terminal("login", "--email", EMAIL)
    shown.wait_for("Password: ")
    shown.type("correct horse\n")
    shown.wait_for("Code of your second factor: ")
    shown.type("123456\n")
    assert shown.exit_code() == 0
    assert len(platform.asked("POST", "/api/v1/sessions")) == 2


def test_a_new_password_keeps_this_session_going(platform: Any, signed_in: Any) -> None:
    done = signed_in("passwd", "--password-stdin", stdin="correct horse\nviolet tram eats moss\n")
    assert done.stderr == ""
    assert (done.exit_code, platform.users[EMAIL]) == (0, "violet tram eats moss")
    assert signed_in("services").exit_code == 0, "with the session that was opened instead"


def test_a_wrong_current_password_is_tried_once(platform: Any, signed_in: Any) -> None:
    done = signed_in("passwd", "--password-stdin", stdin="wrong\nviolet tram eats moss\n")
    assert done.exit_code == 1
    assert len(platform.asked("PUT", "/api/v1/me/password")) == 1
    assert platform.asked("POST", "/api/v1/sessions/refresh") == []


def test_sessions_are_listed_without_what_steers_a_terminal(signed_in: Any) -> None:
    done = signed_in("sessions", "list")
    assert done.exit_code == 0
    assert "ses_2" in done.stdout
    assert "this one" in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(signed_in("sessions", "list", "--json").stdout)["items"]
    assert [each["id"] for each in found] == ["ses_2", "ses_1"]


def test_a_session_or_all_others_are_ended(platform: Any, signed_in: Any) -> None:
    assert signed_in("sessions", "end", "ses_1").stdout == "Ended ses_1.\n"
    assert signed_in("sessions", "end", "--others").exit_code == 0
    assert len(platform.asked("DELETE", "/api/v1/sessions/others")) == 1


@pytest.mark.parametrize("wrong", [(), ("ses_1", "--others")])
def test_what_to_end_must_be_clear(platform: Any, signed_in: Any, wrong: tuple[str, ...]) -> None:
    assert signed_in("sessions", "end", *wrong).exit_code == 2
    assert platform.requests == []


def test_a_second_factor_is_switched_on_and_off(platform: Any, signed_in: Any) -> None:
    on = ("second-factor", "on", "--password-stdin")
    done = signed_in(*on, stdin="correct horse\n123456\n")
    assert done.exit_code == 0
    assert "S" * 32 in done.stderr
    assert "otpauth://" in done.stderr
    assert done.stdout == "aaaaa-bbbbb\nccccc-ddddd\n"
    assert platform.code == "123456"
    off = ("second-factor", "off", "--password-stdin", "--code")
    assert signed_in(*off, "000000", stdin="correct horse\n").exit_code == 1
    assert signed_in(*off, "123456", stdin="correct horse\n").exit_code == 0
    assert platform.code is None


def test_programs_get_the_recovery_codes_only(signed_in: Any) -> None:
    on = ("second-factor", "on", "--password-stdin", "--json")
    done = signed_in(*on, stdin="correct horse\n123456\n")
    assert json.loads(done.stdout) == {"recovery_codes": ["aaaaa-bbbbb", "ccccc-ddddd"]}


@pytest.mark.usefixtures("signed_in")
def test_at_a_terminal_a_qr_code_is_shown(terminal: Any) -> None:
    shown = terminal("second-factor", "on")
    shown.wait_for("Password: ")
    shown.type("correct horse\n")
    shown.wait_for("Code of your second factor: ")
    assert "\u2580" in shown.screen or "\u2584" in shown.screen
    shown.type("123456\n")
    assert shown.exit_code() == 0
    assert "aaaaa-bbbbb" in shown.screen
