"""Signing in with a browser: this program listens on its own machine for the result (RFC 8252)."""

import base64
import hashlib
import queue
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlencode, urlsplit

from dormouse.errors import SignInError

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Dormouse</title>
<body style="font-family: sans-serif; margin: 4em"><h1>{title}</h1><p>{text}</p></body></html>
"""


class BrowserSignIn:
    """Listens from the beginning of the `with` block to its end.

    `verifier` stays here: the code that comes back is worth nothing without it (RFC 7636).
    """

    def __init__(self) -> None:
        self.verifier = secrets.token_urlsafe(32)
        # Nobody else knows the path, so that no other page can send us a result.
        self._path = f"/{secrets.token_hex(16)}"
        self._results: queue.SimpleQueue[dict[str, list[str]]] = queue.SimpleQueue()

    def __enter__(self) -> "BrowserSignIn":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def address(self, url: str) -> str:
        """What to open in the browser; `url` is a provider's."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        redirect = f"http://127.0.0.1:{self._server.server_port}{self._path}"
        return f"{url}?{urlencode({'challenge': challenge, 'redirect': redirect})}"

    def wait(self, seconds: float) -> str:
        """The login code. Raises `SignInError` if there is none, or not in time."""
        try:
            result = self._results.get(timeout=seconds)
        except queue.Empty:
            message = "Nobody signed in in the browser in time"
            raise SignInError(message, code="sign_in_timeout") from None
        if "code" not in result:
            raise SignInError("The sign-in did not work", code=result["error"][0][:64])
        return result["code"][0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sign_in = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                result = parse_qs(address.query)
                if address.path != sign_in._path or not result.keys() & {"code", "error"}:
                    self.send_error(404)
                    return
                self._answer(worked="code" in result)
                sign_in._results.put(result)

            def _answer(self, *, worked: bool) -> None:
                title = "You are signed in" if worked else "That did not work"
                text = "You can close this window and go back to the terminal."
                content = _PAGE.format(title=title, text=text).encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.send_header("cache-control", "no-store")
                self.send_header("referrer-policy", "no-referrer")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """The address holds a code, so it is not written anywhere."""

        return Handler
