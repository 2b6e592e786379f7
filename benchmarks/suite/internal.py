"""A control plane that takes all usage events and revokes nothing.

python -m suite.internal SOCKET
"""

import json
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer({"accepted": len(body["events"]), "rejected": []})

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if int(asked["after"][0]) >= 0:
            time.sleep(float(asked["wait"][0]))
        self._answer({"last": 0, "reset": False, "items": []})

    def _answer(self, document: object) -> None:
        said = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    with socketserver.ThreadingUnixStreamServer(sys.argv[1], _Handler) as server:
        server.daemon_threads = True
        server.serve_forever()
