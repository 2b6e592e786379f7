"""A predictor without an engine: speaks the control socket's language, as its mood says."""

import json
import os
import select
import socket
import sys
import time


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    mood, model = sys.argv[2:]

    def say(**message: object) -> None:
        control.sendall(json.dumps(message).encode() + b"\n")

    if mood == "crash":
        os._exit(1)
    if mood == "silent":
        time.sleep(60)
    if mood == "stuck":
        say(event="alive")
        time.sleep(60)
    if mood == "fail":
        say(event="failed", code="weights_missing", message="no such file: x.gguf")
        sys.exit(1)
    say(event="stage", stage="loading", percent=50, pid=os.getpid())
    if mood == "hang":
        time.sleep(60)
    if mood == "listens":  # with a call that waits there
        say(event="listening", port=1000 + os.getpid() % 60000, metrics_port=1, pid=os.getpid())
        say(event="load", in_flight=1)
        if select.select([control], [], [], 1)[0]:
            os._exit(0)  # under the call, as the real one
    if mood == "slow":
        time.sleep(0.5)
    say(
        event="ready",
        port=1000 + os.getpid() % 60000,
        metrics_port=1,
        pid=os.getpid(),
        load_ms=1,
        model=model,
        slots=2 if mood == "two slots" else 1,
    )
    if mood == "busy":
        say(event="load", in_flight=1)
    if mood in ("crowded", "two slots"):
        say(event="load", in_flight=2, waiting=1)
    if mood == "swap crash":
        say(event="stage", stage="loading", model="other", pid=os.getpid())
        os._exit(1)
    if mood == "swap fails":
        say(event="place", number=1, model="other")
        control.recv(10_000)
        say(event="stage", stage="loading", model="other", pid=os.getpid())
        say(event="stage", stage="ready", percent=None, pid=os.getpid())
    if mood == "swap fetch fails":
        say(event="stage", stage="downloading", percent=1, pid=os.getpid())
        say(event="stage", stage="ready", percent=None, pid=os.getpid())
    if mood == "short":
        os._exit(1)
    if mood == "alive":
        say(event="alive")
    while line := control.makefile().readline():
        if json.loads(line)["op"] == "drain":
            if mood == "stubborn":
                time.sleep(60)
            return


main()
