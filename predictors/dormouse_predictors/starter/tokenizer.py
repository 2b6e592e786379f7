"""Byte-level BPE tokenizer, the special tokens and the chat template of dormouse-chat.

Any text can be tokenised, because every byte is a token. The split into words is GPT-2's, which
llama.cpp has built in as `tokenizer.ggml.pre = gpt-2`.
"""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dormouse_predictors.starter.conversations import Message

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT)
PAD_ID = SPECIAL.index(PAD)
VOCABULARY = 1536

# A question starts with a space, so that its first word is the same token as inside a sentence.
# An answer does not, so that clients need not strip anything.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] in ['system', 'developer'] %}"
    "{{ '<|system|> ' + message['content'] | trim + '<|end|>' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '<|user|> ' + message['content'] | trim + '<|end|>' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' + message['content'] | trim + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
OPENING = {"system": f"{SYSTEM} ", "user": f"{USER} ", "assistant": ASSISTANT}


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def rendered(messages: Sequence[Message]) -> str:
    """What the chat template makes of finished messages (tested to be equal)."""
    return "".join(f"{OPENING[message.role]}{message.content.strip()}{END}" for message in messages)


def encode(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and for each whether it is to be learned."""
    ids: list[int] = []
    learn: list[bool] = []
    for message in messages:
        piece = tokenizer.encode(rendered([message])).ids
        ids += piece
        # The prompt gives the opening token; all after it, with the end, is the model's to say.
        learn += [False] + [message.learn] * (len(piece) - 1)
    return ids, learn
