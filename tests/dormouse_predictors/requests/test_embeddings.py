from typing import Any

import pytest

from dormouse_predictors.base import EmbedRequest
from dormouse_predictors.errors import CallError
from dormouse_predictors.requests.embeddings import MAX_INPUTS, parse

BODY: dict[str, Any] = {"model": "small", "input": "text"}


def refused(**changes: Any) -> CallError:
    with pytest.raises(CallError) as error:
        parse(BODY | changes)
    assert error.value.status == 400
    return error.value


@pytest.mark.parametrize(
    ("given", "inputs"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([1, 2], ((1, 2),)), ([[1], [2]], ((1,), (2,)))],
)
def test_the_four_kinds_of_input(given: Any, inputs: Any) -> None:
    assert parse(BODY | {"input": given}).request == EmbedRequest(inputs)


@pytest.mark.parametrize("given", ["", [], ["a", ""], [[]], [1.0], {"text": "a"}, True])
def test_bad_inputs_are_refused(given: Any) -> None:
    assert refused(input=given).code == "invalid_value"


def test_a_missing_input_is_named() -> None:
    assert refused(input=None).code == "missing_required_parameter"


def test_too_many_inputs_are_refused() -> None:
    assert len(parse(BODY | {"input": ["x"] * MAX_INPUTS}).request.inputs) == MAX_INPUTS  # type: ignore[union-attr]
    assert "2048" in refused(input=["x"] * (MAX_INPUTS + 1)).message


def test_formats_dimensions_and_user() -> None:
    assert parse(BODY | {"encoding_format": "base64"}).base64
    assert not parse(BODY | {"encoding_format": "float"}).base64
    assert parse(BODY | {"dimensions": 384}).request == EmbedRequest(("text",), 384)
    assert parse(BODY | {"user": "anna"}).end_user == "anna"
    assert refused(encoding_format="int8").message == "encoding_format must be float or base64."
    assert refused(dimensions=0).param == "dimensions"
    assert refused(stream=True).code == "unknown_parameter"
