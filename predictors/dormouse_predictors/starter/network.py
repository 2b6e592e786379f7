"""The network: a Llama decoder in plain PyTorch (RMSNorm, RoPE, SwiGLU, tied embeddings).

RoPE turns neighbouring pairs of numbers, as llama.cpp does for `llama`: export permutes nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int = 256
    layers: int = 4
    heads: int = 4
    hidden: int = 704
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-5


class Layer(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads, self.dropout = shape.heads, nn.Dropout(dropout)
        self.attn_norm = nn.RMSNorm(width, eps=shape.epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.RMSNorm(width, eps=shape.epsilon)
        self.ffn_gate = nn.Linear(width, hidden, bias=False)
        self.ffn_up = nn.Linear(width, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        x = x + self.dropout(self._attend(self.attn_norm(x), turn, mask))
        h = self.ffn_norm(x)
        x = x + self.dropout(self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)))
        return x

    def _attend(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        projections = (self.attn_q, self.attn_k, self.attn_v)
        q, k, v = (p(x).view(rows, length, self.heads, -1).transpose(1, 2) for p in projections)
        mixed = F.scaled_dot_product_attention(rotate(q, turn), rotate(k, turn), v, attn_mask=mask)
        output: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(rows, length, width))
        return output


class Decoder(nn.Module):
    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.dropout = nn.Dropout(dropout)
        self.blk = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # What adds to the residual stream starts smaller, as in GPT-2.
                into_stream = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(
                    weight, std=0.02 / (2 * shape.layers) ** 0.5 if into_stream else 0.02
                )

    def forward(self, tokens: Tensor, conversations: Tensor) -> Tensor:
        """Hidden states; a token sees only earlier tokens of its own conversation."""
        length = tokens.shape[1]
        mask = (conversations[:, None, :, None] == conversations[:, None, None, :]).tril()
        turn = rotation(length, self.shape)
        x = self.dropout(self.token_embd(tokens))
        for layer in self.blk:
            x = layer(x, turn, mask)
        hidden: Tensor = self.output_norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.token_embd.weight)


def rotation(length: int, shape: Shape) -> tuple[Tensor, Tensor]:
    size = shape.width // shape.heads
    speeds = shape.rope_base ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), speeds)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return (
        torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
        .flatten(-2)
        .to(x.dtype)
    )
