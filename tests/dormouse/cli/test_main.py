import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dormouse.cli.main import app

COMMAND = [sys.executable, "-c", "from dormouse.cli.main import main; main()"]

COMMANDS = [
    ("version",),
    ("up",),
    ("signup",),
    ("login",),
    ("logout",),
    ("services",),
    ("entitle",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke"),
    ("budgets", "list"),
    ("budgets", "set"),
    ("budgets", "remove"),
    ("chat",),
    ("embed",),
    ("usage",),
    ("status",),
]


def spoken(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    done = spoken(*command, "--help")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert f"Example: {'' if 'create' not in command else 'export '}" in text
    assert f"dormouse {' '.join(command)}" in text.partition("Example: ")[2]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_that_ask_a_server_have_the_same_options(command: tuple[str, ...]) -> None:
    help = spoken(*command, "--help").stdout
    local = command[0] in ("up", "version")
    assert ("--base-url" in help) is not local
    assert ("--json" in help) is (command[0] != "up")


def test_no_command_takes_a_password_as_an_argument() -> None:
    for command in COMMANDS:
        help = spoken(*command, "--help").stdout
        assert not re.search(r"--password\b(?!-stdin)", help)


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys, time; sys.argv = ['dormouse', '--help']\n"
        "from dormouse.cli.main import app\n"
        "app(standalone_mode=False)\n"
        "heavy = {'pydantic', 'yaml', 'jwt', 'rich', 'httpx'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


def test_version_is_shown(run: Any) -> None:
    assert run("version").stdout == "dormouse 0.1.0\n"
    assert json.loads(run("version", "--json").stdout) == {"version": "0.1.0"}


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("dormouse")
    done = subprocess.run([command, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dormouse ")


@pytest.mark.parametrize(
    "arguments",
    [("--nope",), ("chat", "--nope"), ("sing",), ("entitle",), ("chat", "x", "--priority", "3")],
)
def test_wrong_use_exits_2_and_says_so_on_stderr(run: Any, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_a_wrong_base_url_is_wrong_use(run: Any) -> None:
    done = run("services", "--base-url", "nonsense")
    assert done.exit_code == 2
    assert "base_url 'nonsense' is not like http://" in done.stderr


# What a server answers -> what a person reads.
FAILURES: list[tuple[int, str, dict[str, str], str]] = [
    (401, "missing_credentials", {}, "Try: dormouse login, or if you are new: dormouse signup"),
    (
        401,
        "invalid_credentials",
        {},
        "Check email and password. A new account may wait for the link in its mail.",
    ),
    (404, "model_not_found", {}, "Try: dormouse services"),
    (403, "not_entitled", {}, "Try: dormouse entitle SERVICE"),
    (403, "needs_session", {}, ""),
    (409, "email_taken", {}, "Try: dormouse login"),
    (429, "rate_limited", {"retry_after": "90"}, "Try again in 90 s."),
    (500, "internal_error", {"x_request_id": "req_7"}, "The server's log has it as req_7."),
]


@pytest.mark.parametrize(
    ("status", "code", "headers", "then"), FAILURES, ids=[f"{f[0]}-{f[1]}" for f in FAILURES]
)
def test_a_failure_is_one_line_with_its_code_and_what_to_do(
    platform: Any, run: Any, status: int, code: str, headers: Any, then: str
) -> None:
    platform.always(
        "GET",
        "/api/v1/services",
        lambda _, reply: reply.error(status, code, "It did\nnot \x1b[31mwork.", **headers),
    )
    done = run("services", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"dormouse: It did not [31mwork ({code}). {then}".rstrip() + "\n"


def test_a_server_that_does_not_run_is_said_so(run: Any) -> None:
    done = run("services", "--base-url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert re.fullmatch(
        r"dormouse: cannot connect to http://127\.0\.0\.1:1: .* \(connection_failed\)\. "
        r"Is the server running\? Try: dormouse up\n",
        done.stderr,
    )


def test_a_key_of_the_environment_that_is_wrong_is_named(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DORMOUSE_API_KEY", "dm_old")
    assert "Check the environment variable DORMOUSE_API_KEY" in run("services").stderr


def test_a_damaged_credentials_file_is_named(run: Any, credentials: Path) -> None:
    credentials.parent.mkdir(parents=True)
    credentials.write_text("{")
    done = run("services")
    assert done.exit_code == 1
    assert f"dormouse: {credentials} is damaged" in done.stderr
    assert "(credentials_file)" in done.stderr


def test_ctrl_c_exits_130_without_a_traceback(platform: Any, terminal: Any) -> None:
    platform.always("GET", "/api/v1/services", lambda _, __: time.sleep(5))
    shown = terminal("services")
    while not platform.requests:
        time.sleep(0.01)
    shown.type("\x03")
    assert shown.exit_code() == 130
    assert "Traceback" not in shown.screen


def test_a_reader_that_leaves_is_no_disaster(platform: Any, signed_in: Any) -> None:  # noqa: ARG001
    """As in `dormouse chat … | head -1`."""
    endless = (platform.event(platform.chunk("word\n" * 1000)) for _ in range(1000))
    platform.once("POST", "/v1/chat/completions", lambda _, reply: reply.events(endless))
    process = subprocess.Popen(
        [*COMMAND, "chat", "hi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    process.wait(10)
    assert said == b""
    assert platform.hung_up.wait(5)


def test_a_platform_that_is_not_installed_is_explained(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dormouse.cli.up.PLATFORM", "dormouse_not_installed")
    done = run("up")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "(platform_missing)" in done.stderr
    assert 'pip install "dormouse[' in done.stderr


def test_up_becomes_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "path" / "dormouse_control"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, os, sys; print(json.dumps([os.getpid(), sys.argv[1:],"
        " os.environ['DORMOUSE_PORT'], os.environ['DORMOUSE_HOME']]))"
    )
    # A folder that the command happens to be run in does not take part.
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    process = subprocess.Popen(
        [Path(sys.executable).with_name("dormouse"), "up", "--port", "8080", "--home", "here"],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    out = process.communicate(timeout=20)[0]
    assert json.loads(out) == [process.pid, ["up"], "8080", str(tmp_path / "here")]
