"""KServe's: python kserve_echo.py --http_port PORT …"""

import argparse
from typing import Any  # KServe is untyped

from kserve import Model, ModelServer, model_server


class Echo(Model):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.ready = True
        return self.ready

    async def predict(self, payload: Any, headers: Any = None) -> Any:  # noqa: ARG002
        return {"predictions": payload["instances"]}


if __name__ == "__main__":
    arguments, _ = argparse.ArgumentParser(parents=[model_server.parser]).parse_known_args()
    ModelServer().start([Echo("echo")])
