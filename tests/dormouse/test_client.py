import json
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

import dormouse
from dormouse import AuthenticationError, Dormouse
from dormouse.credentials import CredentialsFile, TokenPair

PASSWORD = "correct horse"
EMAIL = "ada@example.org"


def bearer(request: Any) -> str | None:
    header = request.headers.get("authorization")
    return header and header.removeprefix("Bearer ")


def test_everything_in_all_is_there() -> None:
    for name in dormouse.__all__:
        assert getattr(dormouse, name) is not None
    with pytest.raises(AttributeError):
        dormouse.Hamster  # noqa: B018


def test_the_version_is_the_distributions(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert dormouse.__version__ == project["version"]


@pytest.mark.parametrize("statement", ["import dormouse", "from dormouse import Dormouse"])
def test_importing_is_light(statement: str) -> None:
    heavy = "{'pydantic', 'yaml', 'jwt', 'rich', 'httpx', 'typer'}"
    code = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_base_url_may_be_openais(platform: Any, connect: Any, suffix: str) -> None:
    platform.keys["dm_test"] = {}
    client = connect(base_url=platform.url + suffix, api_key="dm_test")
    assert client.base_url == platform.url
    assert client.models.list().data[0].id == "small"


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://x", "http://", "http://[::1", "x"])
def test_a_wrong_base_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Dormouse(url)


def test_a_base_url_may_have_a_path_of_its_own(connect: Any) -> None:
    assert connect(base_url="https://example.org/dm/v1/").base_url == "https://example.org/dm"


def test_address_and_key_come_from_the_environment(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.keys["dm_env"] = {}
    monkeypatch.setenv("DORMOUSE_BASE_URL", platform.url + "/v1")
    monkeypatch.setenv("DORMOUSE_API_KEY", " dm_env\n")
    with Dormouse() as client:
        client.me()
    assert bearer(platform.requests[-1]) == "dm_env"


def test_what_is_given_goes_before_the_environment(
    platform: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.keys["dm_given"] = {}
    monkeypatch.setenv("DORMOUSE_API_KEY", "dm_env")
    monkeypatch.setenv("DORMOUSE_BASE_URL", "http://127.0.0.1:1")
    connect(api_key="dm_given").me()
    assert bearer(platform.requests[-1]) == "dm_given"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "k", "email": "e", "password": "p"},
        {"email": "e"},
        {"password": "p"},
        {"api_key": "dm_ключ"},
        {"api_key": "dm_a\nb"},
    ],
)
def test_credentials_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"api_key|email"):
        Dormouse("http://127.0.0.1:1", **options)


def test_a_new_user_registers_signs_in_and_leaves(platform: Any, connect: Any) -> None:
    client = connect()
    assert client.register("eve@example.org", "secret word").status == "active"
    client.login("eve@example.org", "secret word")
    assert client.me().email == "eve@example.org"
    client.logout()
    with pytest.raises(AuthenticationError) as caught:
        client.me()
    assert caught.value.code == "missing_credentials"
    assert bearer(platform.requests[-1]) is None


def test_registering_and_signing_in_send_no_old_credential(platform: Any, connect: Any) -> None:
    client = connect(api_key="dm_old")
    client.register("eve@example.org", "secret word")
    client.login("eve@example.org", "secret word")
    assert [bearer(request) for request in platform.requests] == [None, None]


def test_email_and_password_sign_in_when_first_needed(platform: Any, connect: Any) -> None:
    client = connect(email=EMAIL, password=PASSWORD)
    assert platform.requests == []
    client.me()
    client.me()
    assert len(platform.asked("POST", "/api/v1/sessions")) == 1


def test_a_wrong_password_is_an_authentication_error(connect: Any) -> None:
    with pytest.raises(AuthenticationError) as caught:
        connect(email=EMAIL, password="wrong").me()
    assert caught.value.code == "invalid_credentials"


def test_a_session_is_renewed_before_it_ends(platform: Any, connect: Any) -> None:
    client = connect()
    platform.access_seconds = 5  # less than the margin
    client.login(EMAIL, PASSWORD)
    platform.access_seconds = 600
    client.me()
    client.me()
    assert bearer(platform.requests[-1]) == "access-2"
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_a_session_that_the_server_ended_early_is_renewed_once(platform: Any, connect: Any) -> None:
    client = connect()
    client.login(EMAIL, PASSWORD)
    platform.expire()
    assert client.me().email == EMAIL
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_a_credential_that_is_refused_for_good_is_not_tried_for_ever(
    platform: Any, connect: Any
) -> None:
    platform.always("GET", "/api/v1/me", lambda _, reply: reply.error(401, "invalid_api_key"))
    client = connect()
    client.login(EMAIL, PASSWORD)
    with pytest.raises(AuthenticationError):
        client.me()
    assert len(platform.asked("GET", "/api/v1/me")) == 2


def test_an_api_key_that_is_refused_is_not_tried_again(platform: Any, connect: Any) -> None:
    with pytest.raises(AuthenticationError) as caught:
        connect(api_key="dm_wrong").me()
    assert caught.value.code == "invalid_api_key"
    assert len(platform.requests) == 1


def test_a_lost_session_is_replaced_where_the_password_is_known(
    platform: Any, connect: Any
) -> None:
    client = connect(email=EMAIL, password=PASSWORD)
    client.me()
    platform.access.clear()
    platform.refresh.clear()
    assert client.me().email == EMAIL


def test_eight_threads_renew_a_session_once(platform: Any, connect: Any) -> None:
    client = connect()
    client.login(EMAIL, PASSWORD)
    platform.expire()
    start = threading.Barrier(8)
    seen: list[object] = []

    def call() -> None:
        start.wait()
        try:
            seen.append(client.me().email)
        except Exception as error:
            seen.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [EMAIL] * 8
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_a_remembered_session_serves_the_next_client(
    platform: Any, connect: Any, credentials: Path
) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert connect().me().email == EMAIL
    assert len(platform.asked("POST", "/api/v1/sessions")) == 1


def test_a_session_is_not_kept_unasked(connect: Any, credentials: Path) -> None:
    connect().login(EMAIL, PASSWORD)
    assert not credentials.exists()


def test_a_session_is_not_sent_to_another_server(platform: Any, connect: Any) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    other = platform.url.replace("127.0.0.1", "localhost")
    with pytest.raises(AuthenticationError):
        connect(base_url=other).me()
    assert bearer(platform.requests[-1]) is None


def test_a_renewed_session_is_written_back(platform: Any, connect: Any, credentials: Path) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    platform.expire()
    connect().me()
    stored = json.loads(credentials.read_text())["servers"][platform.url]
    assert stored["access_token"] == "access-2"
    assert stored["refresh_token"] == "refresh-2"
    connect().me()
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_clients_that_share_a_file_renew_its_session_once(platform: Any, connect: Any) -> None:
    """As separate processes would: each has read the file before the session ended."""
    connect().login(EMAIL, PASSWORD, remember=True)
    clients = [connect() for _ in range(8)]
    platform.expire()
    start = threading.Barrier(8)
    seen: list[object] = []

    def call(client: Dormouse) -> None:
        start.wait()
        try:
            seen.append(client.me().email)
        except Exception as error:
            seen.append(error)

    threads = [threading.Thread(target=call, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [EMAIL] * 8
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_processes_that_share_a_file_renew_its_session_once(platform: Any, connect: Any) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    platform.expire()
    code = "import sys; from dormouse import Dormouse; print(Dormouse(sys.argv[1]).me().email)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, platform.url], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0].decode().strip() for process in processes] == [EMAIL] * 3
    assert len(platform.asked("POST", "/api/v1/sessions/refresh")) == 1


def test_a_session_that_was_ended_says_so_and_not_that_a_password_is_wrong(
    platform: Any, connect: Any
) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    platform.expire()
    platform.refresh.clear()
    with pytest.raises(AuthenticationError, match="session has ended") as caught:
        connect().me()
    assert caught.value.code == "missing_credentials"


def test_signing_out_elsewhere_is_not_undone(
    platform: Any, connect: Any, credentials: Path
) -> None:
    client = connect()
    client.login(EMAIL, PASSWORD, remember=True)
    CredentialsFile(credentials, server=platform.url).remove()
    platform.expire()
    with pytest.raises(AuthenticationError, match="session has ended"):
        client.me()
    assert CredentialsFile(credentials, server=platform.url).load() is None


def test_a_client_does_not_become_who_signed_in_later(
    platform: Any, connect: Any, credentials: Path
) -> None:
    client = connect()
    client.login(EMAIL, PASSWORD, remember=True)
    other = TokenPair("access-x", "refresh-x", time.time() + 600, "eve@example.org")
    CredentialsFile(credentials, server=platform.url).save(other)
    platform.expire()
    with pytest.raises(AuthenticationError, match="session has ended"):
        client.me()
    client.logout()
    assert CredentialsFile(credentials, server=platform.url).load() == other


def test_signing_out_forgets_the_session_even_if_the_server_is_gone(
    platform: Any, connect: Any, credentials: Path
) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    platform.always("DELETE", "/api/v1/sessions/current", lambda _, reply: reply.break_off())
    client = connect()
    with pytest.raises(dormouse.APIConnectionError):
        client.logout()
    assert CredentialsFile(credentials, server=platform.url).load() is None


def test_signing_out_with_a_key_leaves_the_session_alone(
    platform: Any, connect: Any, credentials: Path
) -> None:
    connect().login(EMAIL, PASSWORD, remember=True)
    connect(api_key="dm_test").logout()
    assert CredentialsFile(credentials, server=platform.url).load() is not None


def test_nothing_secret_shows_in_a_repr(platform: Any, connect: Any) -> None:
    platform.keys["dm_test"] = {}
    key = connect(api_key="dm_test").keys.create("laptop")
    pair = TokenPair("secret-access", "secret-refresh", 0, EMAIL)
    assert key.key == "dm_laptop"
    assert "dm_laptop" not in repr(key)
    assert "secret" not in repr(pair)
