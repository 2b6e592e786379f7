"""BentoML's: bentoml serve bentoml_echo:Echo --port PORT"""

import bentoml


@bentoml.service(workers=1, logging={"access": {"enabled": False}})  # type: ignore[untyped-decorator]
class Echo:
    @bentoml.api  # type: ignore[untyped-decorator]
    async def echo(self, instances: list[list[float]]) -> list[list[float]]:
        return instances
