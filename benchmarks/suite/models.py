"""Models of a benchmark: llamas of random weights, always the same ones, made once and kept.

Speed does not depend on what weights say, if lengths are fixed and the end token is ruled out.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_lowercase

import gguf
import numpy as np

from suite.installs import cache

VOCABULARY = 32_000
END = 2
"""The token that would end an answer early."""
NEVER_END = {str(END): -100}
"""As `logit_bias`: answers are as long as they may be."""
FIRST_PIECE = 259
"""From here on tokens are words."""

_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
)
_VERSION = 1  # of these files: another one if what is written below changes


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    inner: int
    heads: int

    @property
    def parameters(self) -> int:
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + 2 * VOCABULARY * self.width + self.width


LARGE = Shape(layers=12, width=768, inner=3072, heads=12)
"""163 million weights; 650 MB as 32-bit floats."""
TINY = Shape(layers=2, width=64, inner=128, heads=4)


def folder() -> Path:
    found = cache() / "models"
    found.mkdir(parents=True, exist_ok=True)
    return found


def llama(shape: Shape, *, context: int = 4096) -> Path:
    """A GGUF file, made now if it is not there yet."""
    path = folder() / f"llama-{shape.parameters}-{context}-v{_VERSION}.gguf"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        _write(unfinished, shape, context)
        unfinished.rename(path)
    return path


def copy(original: Path, number: int) -> Path:
    """Another model as the machine sees it: a file or folder of its own."""
    path = folder() / f"{original.stem}-copy{number}{original.suffix}"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        (shutil.copytree if original.is_dir() else shutil.copy)(original, unfinished)
        unfinished.rename(path)
    return path


def warm(path: Path) -> None:
    """Have it in the page cache."""
    for each in [path] if path.is_file() else path.iterdir():
        if each.is_file():
            with each.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass


def _write(path: Path, shape: Shape, context: int) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(VOCABULARY)
    writer.add_chat_template(_TEMPLATE)
    _vocabulary(writer)
    for name, tensor in _tensors(shape, np.random.default_rng(1)):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: gguf.GGUFWriter) -> None:
    """SentencePiece's kind: <unk> <s> </s>, 256 bytes, then words, the frequent ones first."""
    words = ["▁", *ascii_lowercase]
    for length in (1, 2, 3):
        for letters in product(ascii_lowercase, repeat=length):
            words += [f"▁{''.join(letters)}"] + ([] if length == 1 else ["".join(letters)])
    words = words[: VOCABULARY - FIRST_PIECE]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * FIRST_PIECE + [float(-at) for at in range(len(words))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)


def _tensors(
    shape: Shape, random: np.random.Generator
) -> Iterator[tuple[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]]:
    def normal(*size: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return random.standard_normal(size, dtype=np.float32) * np.float32(0.05)

    width, inner = shape.width, shape.inner
    yield "token_embd.weight", normal(VOCABULARY, width)
    yield "output.weight", normal(VOCABULARY, width)
    yield "output_norm.weight", np.ones(width, np.float32)
    for at in range(shape.layers):
        yield f"blk.{at}.attn_norm.weight", np.ones(width, np.float32)
        yield f"blk.{at}.ffn_norm.weight", np.ones(width, np.float32)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{at}.{part}.weight", normal(width, width)
        yield f"blk.{at}.ffn_gate.weight", normal(inner, width)
        yield f"blk.{at}.ffn_up.weight", normal(inner, width)
        yield f"blk.{at}.ffn_down.weight", normal(width, inner)


def words(seed: int, count: int) -> str:
    """A text of so many words, each of three letters; another one for each seed."""
    letters = np.random.default_rng(seed).integers(0, 26, size=(count, 3))
    return " ".join("".join(ascii_lowercase[each] for each in row) for row in letters)


def tokens(seed: int, count: int) -> list[int]:
    """A prompt of so many tokens."""
    found = np.random.default_rng(seed).integers(FIRST_PIECE, VOCABULARY, size=count)
    return [int(each) for each in found]
