"""BentoML's: bentoml serve bentoml_echo:Echo --port PORT"""

import bentoml


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Echo:
    @bentoml.api
    async def echo(self, instances: list[list[float]]) -> list[list[float]]:
        return instances
