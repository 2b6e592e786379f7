"""A small real server that speaks Dormouse's API, and clients of it."""

import json
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dormouse import Dormouse


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class Reply:
    """What a handler answers with. `hung_up` is set when the client leaves a stream."""

    def __init__(self, http: BaseHTTPRequestHandler, hung_up: threading.Event) -> None:
        self._http = http
        self._hung_up = hung_up

    def json(self, status: int, data: Any, **headers: str) -> None:
        self.raw(status, json.dumps(data).encode(), "application/json", **headers)

    def raw(self, status: int, body: bytes, kind: str = "text/plain", **headers: str) -> None:
        self._head(status, kind, headers)
        self._http.send_header("content-length", str(len(body)))
        self._http.end_headers()
        self._http.wfile.write(body)

    def error(self, status: int, code: str, message: str = "No.", **headers: str) -> None:
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        error = {"message": message, "type": kind, "param": None, "code": code}
        self.json(status, {"error": error}, **headers)

    def events(self, parts: Any, *, end: bool = True, pause: float = 0, **headers: str) -> None:
        """Send `parts` as they are; without `end` the connection breaks off after them."""
        self._head(200, "text/event-stream", headers)
        self._http.send_header("transfer-encoding", "chunked")
        self._http.end_headers()
        try:
            for part in parts:
                self._http.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                time.sleep(pause)
        except OSError:
            self._hung_up.set()
            self._http.close_connection = True
            return
        if end:
            self._http.wfile.write(b"0\r\n\r\n")
        else:
            self.break_off()

    def break_off(self) -> None:
        self._http.close_connection = True

    def _head(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self._http.send_response(status)
        self._http.send_header("content-type", kind)
        for name, value in headers.items():
            self._http.send_header(name.replace("_", "-"), value)


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def chunk(content: str | None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": None if content else "stop"}]
    return {"id": "chatcmpl-1", "model": "small", "choices": choices, **more}


Handler = Callable[[Request, Reply], None]
DONE = b"data: [DONE]\n\n"


@dataclass
class Platform:
    """The server's state, and what it was asked."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    users: dict[str, str] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)
    refresh: dict[str, str] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    entitled: set[str] = field(default_factory=set)
    service_status: str = "awake"
    service_stage: str | None = None
    access_seconds: float = 600
    code: str | None = None
    lock: Any = field(default_factory=threading.Lock)
    scripted: Any = field(default_factory=lambda: defaultdict(queue.SimpleQueue))
    replaced: dict[tuple[str, str], Handler] = field(default_factory=dict)
    serial: int = 0

    event = staticmethod(event)
    chunk = staticmethod(chunk)
    done = DONE

    def once(self, method: str, path: str, handler: Handler) -> None:
        """The next such call is answered by `handler`; several are answered in order."""
        self.scripted[method, path].put(handler)

    def always(self, method: str, path: str, handler: Handler) -> None:
        self.replaced[method, path] = handler

    def asked(self, method: str, path: str) -> list[Request]:
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    def expire(self) -> None:
        """The server no longer accepts any access token."""
        with self.lock:
            self.access.clear()

    def pair(self, email: str) -> dict[str, Any]:
        self.serial += 1
        access, refresh = f"access-{self.serial}", f"refresh-{self.serial}"
        self.access[access] = email
        self.refresh[refresh] = email
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "bearer",
            "expires_in": self.access_seconds,
        }

    def service(self, id: str) -> dict[str, Any]:
        chat = id == "chat"
        models = ["small", "large"] if chat else ["mini"]
        return {
            "id": id,
            "title": id.title(),
            "description": "",
            "category": "text",
            "endpoints": ["chat.completions", "completions"] if chat else ["embeddings"],
            "access": "open",
            "placement": "serverless",
            "models": [
                {"id": name, "title": name, "offered": name != "large", "loaded": name == "small"}
                for name in models
            ],
            "status": self.service_status,
            "stage": self.service_stage,
            "entitled": id in self.entitled,
            "prices": {
                "currency": "USD",
                "per_1000_prompt_tokens": 0.0002,
                "per_1000_completion_tokens": 0.0006,
            },
            "aliases": ["gpt-4o-mini"] if chat else [],
        }


def account(email: str) -> dict[str, Any]:
    return {"id": "usr_1", "email": email, "status": "active"}


def registrations(platform: Platform, request: Request, reply: Reply) -> None:
    email = request.body["email"]
    if email in platform.users:
        return reply.error(409, "email_taken", "There is an account with this address.")
    platform.users[email] = request.body["password"]
    return reply.json(201, account(email))


def sessions(platform: Platform, request: Request, reply: Reply) -> None:
    email = request.body["email"]
    if platform.users.get(email) != request.body["password"]:
        return reply.error(401, "invalid_credentials", "Wrong address or password.")
    if platform.code is not None and request.body.get("code") != platform.code:
        return reply.error(401, "second_factor_required", "This account needs a code too.")
    with platform.lock:
        pair = platform.pair(email)
    return reply.json(201, pair)


def change_password(platform: Platform, request: Request, reply: Reply) -> None:
    email = platform.access[request.headers["authorization"].removeprefix("Bearer ")]
    if platform.users[email] != request.body["current"]:
        return reply.error(401, "invalid_credentials", "Wrong address or password.")
    platform.users[email] = request.body["new"]
    platform.access.clear()
    platform.refresh.clear()
    return reply.json(200, platform.pair(email))


def list_sessions(_platform: Platform, _: Request, reply: Reply) -> None:
    more = {
        "created_at": "2027-01-15T08:00:00Z",
        "last_used_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-02-15T08:00:00Z",
        "method": "password",
        "second_factor": False,
        "address": "192.0.2.1",
        "user_agent": "dormouse\x1b[31m-python",
    }
    items = [{"id": f"ses_{number}", "current": number == 2, **more} for number in (2, 1)]
    reply.json(200, {"items": items, "next": None})


def end_sessions(_platform: Platform, _: Request, reply: Reply) -> None:
    reply.raw(204, b"")


def begin_second_factor(_platform: Platform, _: Request, reply: Reply) -> None:
    reply.json(201, {"secret": "S" * 32, "uri": "otpauth://totp/Dormouse:ada?secret=" + "S" * 32})


def confirm_second_factor(platform: Platform, request: Request, reply: Reply) -> None:
    platform.code = request.body["code"]
    reply.json(200, {"recovery_codes": ["aaaaa-bbbbb", "ccccc-ddddd"]})


def remove_second_factor(platform: Platform, request: Request, reply: Reply) -> None:
    if request.body["code"] != platform.code:
        return reply.error(401, "second_factor_required", "The code is wrong.")
    platform.code = None
    return reply.raw(204, b"")


def refreshes(platform: Platform, request: Request, reply: Reply) -> None:
    with platform.lock:
        email = platform.refresh.pop(request.body["refresh_token"], None)
        if email is None:
            platform.access.clear()  # a reused refresh token ends the session
            platform.refresh.clear()
            return reply.error(401, "invalid_credentials", "The session has ended.")
        pair = platform.pair(email)
    return reply.json(200, pair)


def end_session(platform: Platform, _: Request, reply: Reply) -> None:
    platform.access.clear()
    platform.refresh.clear()
    reply.raw(204, b"")


def me(platform: Platform, request: Request, reply: Reply) -> None:
    email = platform.access.get(request.headers["authorization"].removeprefix("Bearer "), "key")
    more = {"tier": "standard", "created_at": "2027-01-15T08:00:00Z", "credential": "session"}
    reply.json(200, account(email) | more)


def services(platform: Platform, _: Request, reply: Reply) -> None:
    items = [platform.service("embeddings"), platform.service("chat")]
    reply.json(200, {"items": items, "next": None})


def service(platform: Platform, request: Request, reply: Reply) -> None:
    reply.json(200, platform.service(request.path.rpartition("/")[2]))


def entitle(platform: Platform, request: Request, reply: Reply) -> None:
    platform.entitled.add(request.body["service"])
    entitlement = {"service": request.body["service"], "status": "active"}
    reply.json(201, entitlement | {"created_at": "2027-01-15T08:00:00Z"})


def entitlements(platform: Platform, _: Request, reply: Reply) -> None:
    items = [{"service": name, "status": "active"} for name in sorted(platform.entitled)]
    reply.json(200, {"items": items, "next": None})


def dismiss(platform: Platform, request: Request, reply: Reply) -> None:
    platform.entitled.discard(request.path.rpartition("/")[2])
    reply.raw(204, b"")


def make_key(platform: Platform, request: Request, reply: Reply) -> None:
    name = request.body["name"]
    id, key = f"key_{len(platform.keys) + 1}", f"dm_{name}"
    made = {"id": id, "prefix": key[:6], "created_at": "2027-01-15T08:00:00Z", **request.body}
    platform.keys[key] = made
    reply.json(201, made | {"key": key})


def list_keys(platform: Platform, _: Request, reply: Reply) -> None:
    items = [key | {"last_used_at": None} for key in platform.keys.values()]
    reply.json(200, {"items": items, "next": None})


def change_key(platform: Platform, request: Request, reply: Reply) -> None:
    id = request.path.rpartition("/")[2]
    [made] = [made for made in platform.keys.values() if made["id"] == id]
    made |= request.body
    reply.json(200, made)


def revoke_key(platform: Platform, request: Request, reply: Reply) -> None:
    id = request.path.rpartition("/")[2]
    keys = {key: made for key, made in platform.keys.items() if made["id"] != id}
    if keys == platform.keys:
        return reply.error(404, "not_found", "There is no such key.")
    platform.keys = keys
    return reply.raw(204, b"")


def usage_totals(_: Platform, request: Request, reply: Reply) -> None:
    by = request.query["group_by"]
    group = {
        "group": {name: "2027-01-15" if name == "day" else None for name in by},
        "requests": 2,
        "prompt_tokens": 24,
        "completion_tokens": 68,
        "compute_ms": 1500,
        "load_ms": 40,
        "idle_ms": 9000,
        "cost": 0.0000456,
    }
    last = "after" in request.query
    page = {"items": [group], "currency": "USD", "next": None if last else "2"}
    reply.json(200, page)


def usage_export(_: Platform, request: Request, reply: Reply) -> None:
    reply.raw(200, f"{request.path} {sorted(request.query.items())}".encode())


def usage(_: Platform, request: Request, reply: Reply) -> None:
    start = int(request.query.get("after", ["0"])[0])
    limit = int(request.query.get("limit", ["50"])[0])
    calls = [
        {
            "request_id": f"req_{number}",
            "time": "2027-01-15T08:00:00Z",
            "service": "chat",
            "model": "small",
            "endpoint": "chat.completions",
            "outcome": "completed",
            "prompt_tokens": 12,
            "completion_tokens": 34,
            "cold_start_ms": 140 if number == 0 else 0,
            "duration_ms": 1200,
            "cost": 0.0000228,
            "key_id": None,
        }
        for number in range(3)
    ]
    after = str(start + limit) if start + limit < len(calls) else None
    totals = {"requests": 3, "prompt_tokens": 36, "completion_tokens": 102, "cost": 0.0000684}
    page = {"items": calls[start : start + limit], "totals": totals, "currency": "USD"}
    reply.json(200, page | {"next": after})


def _chat_status(platform: Platform) -> dict[str, Any]:
    predictor = {
        "pid": 70,
        "model": "small",
        "state": "ready",
        "in_flight": 1,
        "memory_bytes": 20 * 2**20,
        "idle_seconds": 0,
        "port": 4000,
        "slots": 8,
        "waiting": 0,
    }
    awake = {
        "id": "chat",
        "status": "awake",
        "stage": None,
        "models_loaded": ["small"],
        "predictors": [predictor],
        "queue": 2,
        "last_cold_start_ms": 140,
        "eta_ms": None,
        "oldest_wait_ms": 90,
        "expected_wait_ms": None,
        "quarantined": [],
    }
    waking = {
        "status": "waking",
        "stage": "loading",
        "models_loaded": [],
        "predictors": [predictor | {"pid": None, "state": "starting", "in_flight": 0}],
        "eta_ms": 1200,
        "quarantined": ["big"],
    }
    return awake | waking if platform.service_status == "waking" else awake


def status(platform: Platform, _: Request, reply: Reply) -> None:
    nest = {
        "name": "nest",
        "pid": 7,
        "state": "running",
        "uptime_seconds": 61.2,
        "restarts": 1,
        "memory_bytes": 30 * 2**20,
        "metrics_port": 5003,
    }
    reply.json(200, {"services": [_chat_status(platform)], "processes": [nest]})


def by_hand(platform: Platform, request: Request, reply: Reply) -> None:
    reply.json(202 if request.method == "POST" else 200, _chat_status(platform))


def models(_: Platform, __: Request, reply: Reply) -> None:
    reply.json(200, {"object": "list", "data": [{"id": "small", "object": "model"}]})


def model(_: Platform, request: Request, reply: Reply) -> None:
    reply.json(200, {"id": request.path.rpartition("/")[2], "service": "chat", "entitled": True})


def inference_headers(request: Request) -> dict[str, str]:
    used = "small" if request.body["model"] == "gpt-4o-mini" else request.body["model"]
    return {"x_request_id": "req_1", "x_dormouse_model": used, "x_dormouse_cold_start_ms": "140"}


def chat(platform: Platform, request: Request, reply: Reply) -> None:
    if "chat" not in platform.entitled:
        return reply.error(403, "not_entitled", "You are not entitled to this service.")
    said = f"You said: {request.body['messages'][-1]['content']}"
    headers = inference_headers(request)
    if request.body.get("stream"):
        words = [chunk(word) for word in (said[:5], said[5:])] + [chunk(None)]
        return reply.events([event(each) for each in words] + [DONE], **headers)
    message = {"role": "assistant", "content": said}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": request.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
    return reply.json(200, completion, **headers)


def completions(_: Platform, request: Request, reply: Reply) -> None:
    def document(text: str) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": None}
        return {"id": "cmpl-1", "model": request.body["model"], "choices": [choice]}

    headers = inference_headers(request)
    if request.body.get("stream"):
        return reply.events([event(document(w)) for w in ("once ", "upon")] + [DONE], **headers)
    return reply.json(200, document("once upon"), **headers)


def embeddings(_: Platform, request: Request, reply: Reply) -> None:
    vectors: dict[str, Any] = {
        "base64": "AACAPwAAAL8AAABA",  # 1.0, -0.5, 2.0 as little-endian float32
        "float": [1.0, -0.5, 2.0],
    }
    vector = vectors[request.body.get("encoding_format", "float")]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    answer = {"object": "list", "model": request.body["model"], "data": data}
    reply.json(200, answer | {"usage": {"prompt_tokens": 2}}, **inference_headers(request))


OPEN = {
    ("POST", "/api/v1/registrations"): registrations,
    ("POST", "/api/v1/sessions"): sessions,
    ("POST", "/api/v1/sessions/refresh"): refreshes,
}
SIGNED = {
    ("DELETE", "/api/v1/sessions/current"): end_session,
    ("DELETE", "/api/v1/sessions/others"): end_sessions,
    ("DELETE", "/api/v1/sessions/ses_1"): end_sessions,
    ("GET", "/api/v1/sessions"): list_sessions,
    ("PUT", "/api/v1/me/password"): change_password,
    ("POST", "/api/v1/me/second-factor"): begin_second_factor,
    ("POST", "/api/v1/me/second-factor/confirm"): confirm_second_factor,
    ("POST", "/api/v1/me/second-factor/remove"): remove_second_factor,
    ("GET", "/api/v1/me"): me,
    ("GET", "/api/v1/services"): services,
    ("GET", "/api/v1/services/chat"): service,
    ("GET", "/api/v1/services/chat/status"): by_hand,
    ("POST", "/api/v1/services/chat/wake"): by_hand,
    ("POST", "/api/v1/services/chat/sleep"): by_hand,
    ("POST", "/api/v1/entitlements"): entitle,
    ("GET", "/api/v1/entitlements"): entitlements,
    ("DELETE", "/api/v1/entitlements/chat"): dismiss,
    ("POST", "/api/v1/keys"): make_key,
    ("GET", "/api/v1/keys"): list_keys,
    ("PATCH", "/api/v1/keys/key_1"): change_key,
    ("DELETE", "/api/v1/keys/key_1"): revoke_key,
    ("GET", "/api/v1/usage"): usage,
    ("GET", "/api/v1/usage/totals"): usage_totals,
    ("GET", "/api/v1/usage/export"): usage_export,
    ("GET", "/api/v1/usage/all"): usage,
    ("GET", "/api/v1/usage/all/totals"): usage_totals,
    ("GET", "/api/v1/usage/all/export"): usage_export,
    ("GET", "/api/v1/status"): status,
    ("GET", "/v1/models"): models,
    ("GET", "/v1/models/small"): model,
    ("POST", "/v1/chat/completions"): chat,
    ("POST", "/v1/completions"): completions,
    ("POST", "/v1/embeddings"): embeddings,
}


def handle(platform: Platform, request: Request, reply: Reply) -> None:
    route = (request.method, request.path)
    if not platform.scripted[route].empty():
        return platform.scripted[route].get()(request, reply)
    if route in platform.replaced:
        return platform.replaced[route](request, reply)
    if route in OPEN:
        return OPEN[route](platform, request, reply)
    if route not in SIGNED:
        return reply.error(404, "not_found", f"There is no {request.path}.")
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not token:
        return reply.error(401, "missing_credentials", "Who are you?")
    if token not in platform.access and token not in platform.keys:
        return reply.error(401, "invalid_api_key", "This credential is not valid.")
    return SIGNED[route](platform, request, reply)


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def setup(self) -> None:
        super().setup()
        self.server.platform.connections += 1

    def do_GET(self) -> None:
        platform = self.server.platform
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(body) if body else None,
        )
        platform.requests.append(request)
        handle(platform, request, Reply(self, platform.hung_up))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, platform: Platform) -> None:
        super().__init__(("127.0.0.1", 0), Http)
        self.platform = platform
        platform.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no error here."""


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform(users={"ada@example.org": "correct horse"})
    server = Server(platform)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield platform
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees this machine's own credentials or settings."""
    for name in ("DORMOUSE_BASE_URL", "DORMOUSE_API_KEY", "DORMOUSE_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home


@pytest.fixture
def credentials(home: Path) -> Path:
    return home / ".config" / "dormouse" / "credentials.json"


Connect = Callable[..., Dormouse]


@pytest.fixture
def connect(platform: Platform) -> Iterator[Connect]:
    """Makes clients of `platform` and closes them."""
    made: list[Dormouse] = []

    def connect(**options: Any) -> Dormouse:
        client = Dormouse(options.pop("base_url", platform.url), **options)
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(platform: Platform, connect: Connect) -> Dormouse:
    """Signed in by a key, entitled to chat."""
    platform.keys["dm_test"] = {"id": "key_0", "name": "test"}
    platform.entitled.add("chat")
    return connect(api_key="dm_test")
