"""T102: what listens, where, and what it tells to whom. Nothing else may."""

import os
import socket
import stat

import httpx
import psutil
import pytest

# By process: how many TCP sockets on the loopback, beside the gateway's public one.
GOLDEN = {
    "gateway": 1,  # metrics
    "authorizer": 1,  # metrics
    "control-plane": 1,  # metrics
    "nest": 1,  # metrics
    "supervisor": 1,  # metrics
    "predictor": 2,  # calls with an internal token, and health; metrics
    "zygote": 0,
}
SOCKETS = {
    "admin.sock",
    "authorizer.sock",
    "calls.sock",
    "control-plane.sock",
    "envoy-admin.sock",
    "internal.sock",
    "meters.sock",
    "nest.sock",
}

FOR_PREDICTORS = {"internal.sock", "meters.sock"}
PREDICTORS = 60600


@pytest.fixture(scope="module")
def processes(platform, account):
    """Name -> process, with a predictor awake."""
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    found = {name: psutil.Process(pid) for name, pid in platform.pids(account.key).items()}
    return found | {"supervisor": psutil.Process(platform.process.pid)}


def _listening(process):
    return [
        (found.laddr.ip, found.laddr.port)
        for found in psutil.net_connections("inet")
        if found.pid == process.pid and found.status == psutil.CONN_LISTEN
    ]


def test_t102_the_list_of_listeners_is_this(platform, processes):
    seen = {}
    for name, process in processes.items():
        kind = next(known for known in GOLDEN if name.startswith(known))
        listening = _listening(process)
        assert all(ip == "127.0.0.1" for ip, _ in listening), name
        seen.setdefault(kind, len([port for _, port in listening if port != platform.port]))
        assert (platform.port in [port for _, port in listening]) == (kind == "gateway")
    assert seen == GOLDEN


def test_t102_no_process_listens_that_is_not_on_the_list(platform, processes):
    known = {process.pid for process in processes.values()}
    strangers = [
        child
        for child in psutil.Process(platform.process.pid).children(recursive=True)
        if child.pid not in known and _listening(child)
    ]
    assert strangers == []


def test_t102_ports_for_metrics_tell_nothing_else(platform, account, processes):
    ports = {port for process in processes.values() for _, port in _listening(process)}
    services = ("chat", "embeddings")
    calls = [each["port"] for name in services for each in platform.predictors(account.key, name)]
    ports -= {platform.port, *calls}
    assert len(ports) >= 6
    for port in ports:
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(url + "/metrics").status_code == 200
        for path in ("/internal/v1/routes", "/quitquitquit", "/config_dump", "/api/v1/me",
                     "/stats", "/clusters", "/v1/chat/completions", "/../etc/passwd"):  # fmt: skip
            for method in ("GET", "POST"):
                answer = httpx.request(method, url + path)
                # Prometheus' own server says the same at every path.
                same = answer.text.startswith("# HELP") and "_total" in answer.text
                assert answer.status_code in (404, 405) or same, (port, path)


def test_t102_sockets_of_files_are_the_owners_and_two_the_predictors(platform):
    folder = platform.home / "run"
    own_users = os.getuid() == 0
    assert stat.S_IMODE(folder.stat().st_mode) == (0o2710 if own_users else 0o700)
    found = {path.name for path in folder.iterdir() if stat.S_ISSOCK(path.stat().st_mode)}
    assert found == SOCKETS
    for name in found:
        status = (folder / name).stat()
        mode = 0o660 if own_users and name in FOR_PREDICTORS else 0o600
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, os.getuid()), name
        assert status.st_gid == (PREDICTORS if own_users else os.getgid()), name


def test_t102_nothing_answers_on_other_addresses_of_this_machine(platform):
    """Without `host` the gateway is for this machine only."""
    others = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    }
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, platform.port)) != 0, address
