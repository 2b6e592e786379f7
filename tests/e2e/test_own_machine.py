"""T114: what the whole platform opens to this machine and to others."""

import json
import stat

import psutil

from dormouse_control import predictor_users


def listening(pid: int) -> dict[int, str]:
    """Port -> address, of a process and all that it started."""
    found = {}
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        for connection in each.connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                found[connection.laddr.port] = connection.laddr.ip
    return found


def test_t114_only_known_ports_listen_and_only_on_this_machine(platform, account):
    assert platform.chat(account.key, max_tokens=4).status_code == 200
    ports = listening(platform.process.pid)

    processes = json.loads((platform.home / "run" / "processes.json").read_text())["processes"]
    metrics = {each["metrics_port"] for each in processes}
    predictors = {
        port
        for service in platform.get("/api/v1/status", account.access_token).json()["services"]
        for each in service["predictors"]
        for port in (each["port"], each["metrics_port"])
        if port
    }
    assert set(ports.values()) == {"127.0.0.1"}
    assert set(ports) <= {platform.port} | metrics | predictors
    assert platform.port in ports


def test_t114_all_that_it_writes_is_its_owners_alone(platform, account):
    assert platform.chat(account.key, max_tokens=4).status_code == 200
    ours = [path for path in platform.home.rglob("*") if path.name != "up.log"]
    found = {path: path.lstat() for path in ours if not path.is_symlink()}
    modes = {path: oct(stat.S_IMODE(each.st_mode)) for path, each in found.items()}
    shared = {path for path, mode in modes.items() if int(mode, 8) & 0o070}

    assert len(modes) > 15
    assert {path: mode for path, mode in modes.items() if int(mode, 8) & 0o007} == {}
    # Where we are root, predictors have users of their own: what they need is their group's too.
    assert {found[path].st_gid for path in shared} <= {predictor_users.FIRST}
    assert {str(path.relative_to(platform.home)) for path in shared} <= {
        *("keys", "keys/jwks.json", "run", "run/internal.sock", "run/meters.sock"),
        *("spool", "weights", "weights/blobs", "weights/locks"),
        *("weights/partial", "weights/sources"),
        *(str(path.relative_to(platform.home)) for path in ours if path.match("spool/*/*.jsonl")),
    }


def test_t34_a_name_that_was_pointed_at_this_machine_is_refused(platform):
    answer = platform.get("/api/v1/me", headers={"host": f"evil.example:{platform.port}"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")
