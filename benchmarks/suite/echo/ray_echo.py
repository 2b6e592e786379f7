"""Ray Serve's: python ray_echo.py PORT FOLDER"""

import signal
import sys
import time
from typing import Any  # Ray is untyped here

import ray
from ray import serve


@serve.deployment
class Echo:
    async def __call__(self, request: Any) -> Any:
        return await request.json()


def main(port: int, folder: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Echo.bind())
        while True:
            time.sleep(3600)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
