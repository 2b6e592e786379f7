"""Export: network and tokenizer to one GGUF file that llama.cpp tokenises as training did.

Matrices are stored as Q8_0, norms as float32. Nothing in the file depends on time or machine.
"""

import json
from pathlib import Path

import gguf
import torch
from gguf.quants import quantize
from llama_cpp import Llama
from tokenizers import Tokenizer

from dormouse_predictors.starter.conversations import Talker
from dormouse_predictors.starter.corpus import dice
from dormouse_predictors.starter.network import Decoder
from dormouse_predictors.starter.tokenizer import CHAT_TEMPLATE, END, PAD, SPECIAL, rendered
from dormouse_predictors.starter.train import Trained

CHECKED_CONVERSATIONS = 500


def export(trained: Trained, path: Path) -> None:
    """Write the GGUF file and refuse it if llama.cpp splits any text differently from training."""
    writer = gguf.GGUFWriter(path, arch="llama")
    _add_shape(writer, trained.network, path.stem)
    _add_tokenizer(writer, trained.tokenizer)
    _add_weights(writer, trained.network)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_tokenizer(trained, path)


def check_tokenizer(trained: Trained, path: Path) -> None:
    """Compare on all phrasings and answers, and on conversations as they were trained on."""
    llama = Llama(str(path), vocab_only=True, verbose=False)
    for text in _checked_texts(trained):
        ours = trained.tokenizer.encode(text).ids
        theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
        if ours != theirs:
            raise ValueError(f"llama.cpp tokenises differently: {text!r}")


def _checked_texts(trained: Trained) -> list[str]:
    talker = Talker(trained.split, dice(trained.recipe.seed, "check"))
    conversations = [talker.conversation() for _ in range(CHECKED_CONVERSATIONS)]
    conversations += [talker.long_conversation(300) for _ in range(CHECKED_CONVERSATIONS // 10)]
    questions = [*trained.split.train, *trained.split.held_out]
    answers = {question.fact.answer for question in questions}
    return [
        *map(rendered, conversations),
        *(f" {question.text}" for question in questions),
        *sorted(answers),
    ]


def _add_shape(writer: gguf.GGUFWriter, network: Decoder, name: str) -> None:
    shape = network.shape
    writer.add_name(name)
    writer.add_description("Tiny chat model that answers questions about Dormouse")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([control if token in SPECIAL else normal for token, _ in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    # There is no BOS token: readers that insist on one get the end token, told not to add it.
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(pad)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, network: Decoder) -> None:
    eight_bit = gguf.GGMLQuantizationType.Q8_0
    for name, weight in network.state_dict().items():
        array = weight.to(torch.float32).numpy()
        if array.ndim == 2:
            writer.add_tensor(name, quantize(array, eight_bit), raw_dtype=eight_bit)
        else:
            writer.add_tensor(name, array)
