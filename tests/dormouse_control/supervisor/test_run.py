"""What `dormouse up` refuses before it starts anything."""

import os
import socket
import subprocess
import sys

import pytest


def up(tmp_path, **settings):
    environment = {**os.environ, "DORMOUSE_HOME": str(tmp_path), "DORMOUSE_METRICS_PORT": "0"}
    environment |= {f"DORMOUSE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "dormouse_control", "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_taken_port_is_named_with_the_way_out(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = up(tmp_path, port=port)
    assert ended.returncode == 1
    assert port in ended.stderr
    assert "DORMOUSE_PORT" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("port", "99999"), ("idle_seconds", "-1"), ("profile", "huge")]
)
def test_a_wrong_setting_is_named(tmp_path, name, value):
    ended = up(tmp_path, **{name: value})
    assert ended.returncode == 1
    assert f"setting {name}:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_home_too_long_for_sockets_is_refused(tmp_path):
    ended = up(tmp_path / ("x" * 120))
    assert ended.returncode == 1
    assert "choose a shorter DORMOUSE_HOME" in ended.stderr
