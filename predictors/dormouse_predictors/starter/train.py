"""Training: conversations packed into rows, one pass of Muon, everything derived from one seed.

Run it with `python -m dormouse_predictors.starter train --out services/chat/dormouse-chat`.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from dormouse_predictors.starter.conversations import Talker
from dormouse_predictors.starter.corpus import Split, dice, load_facts, split
from dormouse_predictors.starter.network import Decoder, Shape
from dormouse_predictors.starter.tokenizer import PAD_ID, SPECIAL, encode, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    seed: int = 2026
    width: int = 256
    layers: int = 4
    hidden: int = 704
    steps: int = 800
    tokens_per_step: int = 4096
    row: int = 512
    long_row: int = 2048
    long_every: int = 8
    learning_rate: float = 5e-3
    weight_decay: float = 0.1
    warmup: int = 50
    dropout: float = 0.15
    masked: float = 0.2
    openings: float = 0.88
    opening_tokens: int = 7
    tokenizer_conversations: int = 20_000
    threads: int = 2


RECIPES = {
    "base": Recipe(),
    # A third of the size, and faster by as much: to see models change places.
    "mini": Recipe(width=160, layers=3, hidden=448, dropout=0.05),
}


@dataclass(frozen=True)
class Trained:
    tokenizer: Tokenizer
    network: Decoder
    split: Split
    recipe: Recipe
    tokens_seen: int


@dataclass
class Row:
    """Conversations laid end to end."""

    tokens: list[int] = field(default_factory=list)
    learn: list[bool] = field(default_factory=list)
    conversation: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], learn: list[bool]) -> None:
        self.conversation += [self.conversation[-1] + 1 if self.conversation else 0] * len(tokens)
        self.tokens += tokens
        self.learn += learn


def train(recipe: Recipe, report: Callable[[str], None]) -> Trained:
    """The same recipe on the same kind of machine gives the same network."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(recipe.threads)
    parts = split(load_facts(), recipe.seed)
    tokenizer = train_tokenizer(_texts(parts, recipe))
    shape = Shape(tokenizer.get_vocab_size(), recipe.width, recipe.layers, hidden=recipe.hidden)
    network = Decoder(shape, recipe.dropout)
    optimizers = _optimizers(network, recipe)
    seen = 0
    for step, (tokens, learn, conversation) in enumerate(_batches(parts, tokenizer, recipe)):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        # bfloat16 halves the time on processors that have it; weights and sums stay in float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = network(tokens[:, :-1], conversation[:, :-1])[learn[:, 1:]]
            logits = network.logits(hidden)
        loss = F.cross_entropy(logits.float(), tokens[:, 1:][learn[:, 1:]])
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        seen += tokens.numel()
        if (step + 1) % 50 == 0:
            report(
                f"step {step + 1:5d} of {recipe.steps}   loss {loss.item():.4f}   {seen:,} tokens"
            )
    return Trained(tokenizer, network.eval(), parts, recipe, seen)


def _texts(parts: Split, recipe: Recipe) -> Iterator[str]:
    talker = Talker(parts, dice(recipe.seed, "tokenizer"))
    for _ in range(recipe.tokenizer_conversations):
        yield from (f" {message.content}" for message in talker.conversation())
    for question in parts.train:
        yield question.fact.answer


def _batches(
    parts: Split, tokenizer: Tokenizer, recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    rng = dice(recipe.seed, "training")
    talker = Talker(parts, rng)
    for step in range(recipe.steps):
        size = recipe.long_row if (step + 1) % recipe.long_every == 0 else recipe.row
        rows = [
            _row(talker, tokenizer, size, recipe) for _ in range(recipe.tokens_per_step // size)
        ]
        yield (
            torch.tensor([row.tokens[:size] for row in rows]),
            torch.tensor([row.learn[:size] for row in rows]),
            torch.tensor([row.conversation[:size] for row in rows]),
        )


def _row(talker: Talker, tokenizer: Tokenizer, size: int, recipe: Recipe) -> Row:
    row = Row()
    if size == recipe.long_row:
        row.add(*encode(tokenizer, talker.long_conversation(talker.rng.randint(100, 1100))))
    while len(row.tokens) < size:
        tokens, learn = encode(tokenizer, talker.conversation())
        if talker.rng.random() < 0.5:
            tokens = _forgetful(tokens, learn, talker.rng, recipe.masked)
        end = len(tokens)
        if talker.rng.random() < recipe.openings:
            end = _last_answer(learn) + recipe.opening_tokens
        row.add(tokens[:end], learn[:end])
    return row


def _forgetful(tokens: list[int], learn: list[bool], rng: random.Random, share: float) -> list[int]:
    """Hide a share of what is asked behind the padding token, so that no single word decides."""
    return [
        PAD_ID if not keep and token >= len(SPECIAL) and rng.random() < share else token
        for token, keep in zip(tokens, learn, strict=True)
    ]


def _last_answer(learn: list[bool]) -> int:
    """Where the last answer starts. Its opening decides which one it is; the rest is soon known."""
    return len(learn) - learn[::-1].index(False)


def _optimizers(network: Decoder, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers; AdamW for the embedding and the norms."""
    matrices = [weight for weight in network.blk.parameters() if weight.dim() == 2]
    norms = [weight for weight in network.parameters() if weight.dim() < 2]
    embedding = [{"params": [network.token_embd.weight], "weight_decay": recipe.weight_decay}]
    return [
        torch.optim.Muon(
            matrices,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [*embedding, {"params": norms, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        ),
    ]


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then linear to zero."""
    rising = (step + 1) / recipe.warmup
    falling = (recipe.steps - step) / (recipe.steps - recipe.warmup)
    return min(rising, falling)
