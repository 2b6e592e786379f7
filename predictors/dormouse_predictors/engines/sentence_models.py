"""Reads a sentence model's folder: its tokenizer and its weights, from safetensors only.

The libraries' own way reads every file several times, initialises weights that are then replaced,
and compiles a pattern for each of their names. It is taken where the short way does not do.
"""

from pathlib import Path
from typing import Any  # transformers is untyped

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer
from transformers.initialization import no_init_weights

_ONLY = {"local_files_only": True, "trust_remote_code": False}


def open_tokenizer(path: Path) -> Any:
    """Of `tokenizers`. The text of a special token is only text to it, and nothing is cut or
    filled up. Raises what the libraries raise."""
    file = path / "tokenizer.json"
    if file.exists():
        found = Tokenizer.from_file(str(file))
    else:
        found = AutoTokenizer.from_pretrained(path, **_ONLY).backend_tokenizer
    found.no_truncation()
    found.no_padding()
    found.encode_special_tokens = True
    return found


def open_model(path: Path) -> Any:
    """In 32 bits, ready to compute. Raises what the libraries raise."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    found = _quickly(path)
    if found is None:
        found = AutoModel.from_pretrained(path, use_safetensors=True, dtype=torch.float32, **_ONLY)
    return found.eval()


def _quickly(path: Path) -> Any:
    """None if the file does not hold exactly the names and types that the model wants."""
    file = path / "model.safetensors"
    if not file.exists():
        return None
    config = AutoConfig.from_pretrained(path, **_ONLY)
    if getattr(config, "quantization_config", None) is not None:
        return None
    weights = load_file(file)
    if any(each.dtype != torch.float32 for each in weights.values()):
        return None
    with no_init_weights():
        model = AutoModel.from_config(config, dtype=torch.float32)
    if model.state_dict().keys() - weights.keys():
        return None
    model.load_state_dict(weights, strict=False, assign=True)
    return model


def write_miniature(folder: Path) -> None:
    """The smallest model of this kind: what loads and runs it does all that a real one has done."""
    transformers.utils.logging.disable_progress_bar()  # each bar would start a thread
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}
    BertTokenizer(words).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
