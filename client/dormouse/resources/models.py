"""`client.models`: the names that may be written into `model`."""

from dormouse.answers import build
from dormouse.calls import Call, segment
from dormouse.transport import Transport
from dormouse.types import Model, ModelList


class Models:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> ModelList:
        return build(ModelList, self._transport.send(Call("GET", "/v1/models")).data)

    def retrieve(self, model: str) -> Model:
        call = Call("GET", f"/v1/models/{segment(model)}")
        return build(Model, self._transport.send(call).data)
