"""What `dormouse up` refuses before it starts anything."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dormouse_control.predictor_users import NotArranged
from dormouse_control.settings import Settings
from dormouse_control.supervisor.banner import ready
from dormouse_control.supervisor.facts import Facts
from dormouse_control.supervisor.keeper import Supervisor, trim_log
from dormouse_control.supervisor.processes import PROCESSES
from dormouse_control.supervisor.run import _open_to_predictors, facts


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


def known(**settings):
    return facts(Settings(**settings), dict.fromkeys(PROCESSES, 1), None)


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


def test_one_wrong_setting_is_one_line(tmp_path):
    ended = up(tmp_path, port="abc")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["mysql://x", "nonsense", "sqlite:relative.db"])
def test_a_database_that_we_cannot_use_is_refused(tmp_path, url):
    ended = up(tmp_path, database_url=url)
    assert ended.returncode == 1
    assert "setting database_url: " in ended.stderr


def test_a_wrong_catalogue_is_named_by_file_and_field_before_anything_starts(tmp_path):
    services = tmp_path / "services"
    shutil.copytree(Path(__file__).parents[3] / "services" / "chat", services / "chat")
    spec = services / "chat" / "service.yaml"
    spec.write_text(spec.read_text().replace("title:", "titel:", 1))
    ended = up(tmp_path / "home", services=str(services))
    assert ended.returncode == 1
    assert f"{spec}: title: Field required; titel: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_predictors_that_must_have_users_and_cannot_stop_the_start(tmp_path):
    os.chown(tmp_path, 0, 7777)
    tmp_path.chmod(0o750)
    ended = up(tmp_path, predictor_user="7000")
    assert ended.returncode == 1
    assert f"dormouse up: {tmp_path} is open to group 7777" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_others_than_root_have_no_users_to_give(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    _open_to_predictors(Settings(home=tmp_path))
    with pytest.raises(NotArranged, match="only root"):
        _open_to_predictors(Settings(home=tmp_path, predictor_user="7000"))


def test_an_address_that_is_none_is_not_called_taken(tmp_path):
    ended = up(tmp_path, host="300.1.1.1", allow_plain_http="true")
    assert ended.returncode == 1
    assert "cannot listen on 300.1.1.1" in ended.stderr
    assert "in use" not in ended.stderr


def test_a_misspelt_setting_is_told():
    names = ["DORMOUSE_IDLE_SECOND", "DORMOUSE_PORT", "DORMOUSE_API_KEY", "HOME"]
    assert Settings.unknown_names(names) == ["DORMOUSE_IDLE_SECOND"]


def test_the_banner_leads_to_the_platform_that_started(tmp_path):
    usual, other = (ready(known(home=tmp_path, port=port), 1.0) for port in (5000, 5010))
    assert "export" not in usual
    assert "export DORMOUSE_BASE_URL=http://127.0.0.1:5010\n" in other


def test_the_banner_shows_how_to_make_the_first_administrator(tmp_path):
    found = known(home=tmp_path)
    assert "administrator" not in ready(found, 1.0)
    assert "dormouse admin create --token ott_1.x\n" in ready(found, 1.0, "ott_1.x")


def test_who_trusts_our_own_certificate_is_told_how(tmp_path):
    found = known(home=tmp_path, tls="self-signed")
    assert f"SSL_CERT_FILE={tmp_path}/" in ready(found, 1.0)


def test_facts_survive_being_handed_on(tmp_path):
    found = known(home=tmp_path, tls="self-signed")
    assert Facts.from_json(found.to_json()) == found


def test_ports_that_our_own_processes_want_are_refused(tmp_path):
    ended = up(tmp_path, port="5002", metrics_port="5001")
    assert ended.returncode == 1
    assert "DORMOUSE_METRICS_PORT" in ended.stderr


def test_a_long_log_is_set_aside_and_appending_goes_on(tmp_path):
    log = tmp_path / "dormouse.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        trim_log(log, 100)
        assert log.read_bytes() == b"old\n" * 10
        trim_log(log, 20)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "dormouse.log.1").read_bytes() == b"old\n" * 10


def test_a_disk_that_is_full_does_not_end_the_care_for_processes(tmp_path):
    settings = Settings(home=tmp_path)
    supervisor = Supervisor(known(home=tmp_path), None)
    supervisor._publish()  # the folder is not there: as little to be written as on a full disk
    settings.run_folder.mkdir()
    supervisor._publish()
    assert '"gateway"' in settings.processes_file.read_text()
