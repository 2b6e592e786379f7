"""Our predictor without nest and gateway, as in a container, and tokens that it believes."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse.tokens import InternalClaims, SigningKey, public_jwk, sign_internal
from suite import models, offers
from suite.frameworks import first_reply
from suite.offers import Offer
from suite.processes import free_port, started, until

_LIFE = 60


@dataclass(frozen=True)
class Standing:
    port: int
    pid: int
    seconds: float
    """From exec to the first reply."""
    log: Path


class Predictors:
    """Keys and a control plane for predictors that are started by hand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = SigningKey("internal-bench", Ed25519PrivateKey.generate())
        self._jwks = folder / "jwks.json"
        public = public_jwk(self._key.kid, self._key.private.public_key())
        self._jwks.write_text(json.dumps({"keys": [public]}))
        self._internal = folder / "internal.sock"

    @contextlib.contextmanager
    def control_plane(self) -> Iterator[None]:
        command = [sys.executable, "-m", "suite.internal", str(self._internal)]
        log = self._folder / "internal.log"
        with started(command, log=log):
            until(self._internal.exists, "the control plane's stand-in", log=log)
            yield

    def headers(self, offer: Offer) -> dict[str, str]:
        """For a minute."""
        now = int(time.time())
        claims = InternalClaims("usr_x", "key_x", offer.name, offer.name, 1, now + _LIFE)
        token = sign_internal(claims, key=self._key, now=now)
        return {"content-type": "application/json", "authorization": f"Bearer {token}"}

    @contextlib.contextmanager
    def start(
        self, offer: Offer, *, module: str = "dormouse_predictors", core: int | None = None
    ) -> Iterator[Standing]:
        """One that has answered a call. Raises `NotReady`."""
        own = self._folder / f"standing-{offer.name}"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        offers.write(own / "services", [offer])
        port, log = free_port(), own / "log"
        command = [sys.executable, "-m", module, "--service", offer.name]
        command += ["--services-folder", str(own / "services"), "--log-level", "warning"]
        command += ["--port", str(port), "--metrics-port", str(free_port())]
        command += ["--jwks", str(self._jwks), "--spool", str(own / "spool")]
        command += ["--internal-api", str(self._internal), "--weights", str(models.folder())]
        command += ["--threads", str(offer.cpus)]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        began = time.perf_counter()
        with started(command, log=log) as process:
            path, body, headers = offer.endpoint, offers.first_call(offer), self.headers(offer)
            seconds = first_reply(port, path, body, began, log=log, headers=headers)
            yield Standing(port, process.pid, seconds, log)
