"""What the endpoints' validators share: reading JSON, common fields, errors that say the range."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar  # JSON

import annotated_types
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dormouse_predictors.base import EmbedRequest, GenerateRequest, Sampling
from dormouse_predictors.errors import CallError, invalid, unsupported
from dormouse_predictors.requests.names import fields_at, meant, with_today_s_names

Parsed = TypeVar("Parsed", bound=BaseModel)
Neutral = Mapping[str, tuple[object, ...]]
"""Parameters that we do not support -> values that ask for nothing, as null always does."""

_LARGEST = 2**31 - 1
MAX_STOPS, MAX_STOP_LENGTH = 16, 256
MAX_FIELDS = 100
MAX_BIASES = 1024
# Reading JSON holds up every other call. Counted first: far more than any call that fits a model.
_MOST = {b"{": 50_000, b"[": 50_000, b",": 1_000_000}


@dataclass(frozen=True)
class ParsedCall:
    """`include_usage` and `base64` shape the answer; the engine sees `request` only.

    `priority` is what the body asks for.
    """

    model: str
    request: GenerateRequest | EmbedRequest
    stream: bool = False
    include_usage: bool = False
    end_user: str | None = None
    base64: bool = False
    priority: int | None = None


def read_json(raw: bytes) -> dict[str, Any]:
    """Raises `CallError`."""
    for mark, most in _MOST.items():
        if raw.count(mark) > most:
            shown = mark.decode()
            raise CallError(400, "invalid_json", f"The body has more than {most} times {shown}.")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CallError(400, "invalid_json", f"The body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise CallError(400, "invalid_json", "The body must be a JSON object.")
    if len(document) > MAX_FIELDS:
        raise CallError(400, "unknown_parameter", f"The body has {len(document)} fields.")
    return document


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _token_keys(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_BIASES:
        raise ValueError("too many")
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in value):
        raise ValueError("keys must be token ids")
    return {int(key): bias for key, bias in value.items()}


Text = Annotated[
    str,
    Field(
        max_length=512,
        pattern=r"^[^\x00]*$",  # not every database can store that
        description="a text of at most 512 characters, without U+0000",
    ),
]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]
# Lengths stand here and not beside `| None`: pydantic would ask null for its length.
Biases = Annotated[dict[int, Bias], Field(max_length=MAX_BIASES)]
Stops = Annotated[list[Stop], Field(max_length=MAX_STOPS)]


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, Field(description="false")] = None


class Common(Strict):
    """Fields of every endpoint."""

    model: Annotated[str, Field(min_length=1, max_length=256, description="the name of a model")]
    user: Text | None = None
    safety_identifier: Text | None = None
    priority: Annotated[int | None, Field(ge=0, le=2)] = None


class Generating(Common):
    """Fields of both endpoints that generate text. None means the default of `Sampling`."""

    temperature: Annotated[float | None, Field(ge=0, le=2, allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    top_k: Annotated[int | None, Field(ge=0, le=100_000)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2, allow_inf_nan=False)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2, allow_inf_nan=False)] = None
    repeat_penalty: Annotated[float | None, Field(ge=0.1, le=2, allow_inf_nan=False)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), le=2**63 - 1)] = None
    logit_bias: Annotated[
        Biases | None,
        BeforeValidator(_token_keys),
        Field(
            description=f"an object of at most {MAX_BIASES} token ids"
            " with numbers from -100 to 100",
        ),
    ] = None
    stop: Annotated[
        Stops | None,
        BeforeValidator(_as_list),
        Field(
            description=f"a text or a list of at most {MAX_STOPS} texts,"
            f" each of 1 to {MAX_STOP_LENGTH} characters",
        ),
    ] = None
    n: Annotated[int | None, Field(ge=1, le=8)] = None
    n_threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    n_gpu_layers: Annotated[int | None, Field(ge=-1, le=1000)] = None
    stream: Annotated[bool | None, Field(description="true or false")] = None
    stream_options: StreamOptions | None = None

    def sampling(self) -> Sampling:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(Sampling)}
        return Sampling(**{name: value for name, value in given.items() if value is not None})

    def parsed(self, request: GenerateRequest) -> ParsedCall:
        """Raises `CallError`."""
        return ParsedCall(
            self.model,
            request,
            bool(self.stream),
            self._include_usage(),
            self.safety_identifier or self.user,
            priority=self.priority,
        )

    def _include_usage(self) -> bool:
        """Raises `CallError` for options of a stream that is not one."""
        options = self.stream_options
        if options is None:
            return False
        if not self.stream:
            raise invalid("stream_options", "stream_options is only allowed with stream: true.")
        if options.include_obfuscation:
            raise unsupported("stream_options.include_obfuscation", "Obfuscation is not supported.")
        return bool(options.include_usage)


MaxTokens = Annotated[int | None, Field(ge=1, le=_LARGEST)]


def drop_neutral(document: Mapping[str, Any], table: Neutral) -> dict[str, Any]:
    """The document without unsupported parameters that ask for nothing; refuses those that do."""
    for name, neutral in table.items():
        value = document.get(name)
        if value is None or any(type(value) is type(one) and value == one for one in neutral):
            continue
        raise unsupported(name, f"{name} is not supported by this model.")
    return {name: value for name, value in document.items() if name not in table}


def check(kind: type[Parsed], document: Mapping[str, Any]) -> Parsed:
    """Raises `CallError` for the first thing that is wrong."""
    try:
        return kind.model_validate(with_today_s_names(document))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    loc, param = found["loc"], _path(found["loc"])
    if found["type"] == "missing":
        raise CallError(400, "missing_required_parameter", f"{param} is missing.", param=param)
    if found["type"] == "extra_forbidden":
        hint = meant(str(loc[-1]), fields_at(kind, loc[:-1]))
        raise CallError(400, "unknown_parameter", f"Unknown parameter: {param}.{hint}", param=param)
    if found["type"] == "unsupported_parameter":
        raise unsupported(param, found["msg"])
    expected = _expected(kind.model_fields[str(loc[0])]) if len(loc) == 1 else None
    if expected is not None:
        raise invalid(param, f"{param} must be {expected}.")
    raise invalid(param, f"{param}: {found['msg']}.{_outer(kind, loc)}")


def _outer(kind: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    field = kind.model_fields.get(str(loc[0]))
    expected = _expected(field) if field is not None else None
    return f" {loc[0]} must be {expected}." if expected else ""


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _expected(field: FieldInfo) -> str | None:
    if field.description:
        return field.description
    low = next((m.ge for m in field.metadata if isinstance(m, annotated_types.Ge)), None)
    high = next((m.le for m in field.metadata if isinstance(m, annotated_types.Le)), None)
    if low is None or high is None:
        return None
    kind = "a whole number" if field.annotation == (int | None) else "a number"
    return f"{kind} from {low} to {high}"
