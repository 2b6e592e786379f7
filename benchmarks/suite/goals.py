"""What is wanted of each number: the goal, and the floor below which it is not done."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """A number is reached if it is `at` most or at least so much. No floor: nothing is demanded."""

    id: str
    what: str
    at: Literal["most", "least"]
    goal: float
    floor: float | None = None

    def reached(self, value: float) -> str:
        if self._holds(value, self.goal):
            return "goal"
        return "floor" if self.floor is not None and self._holds(value, self.floor) else "missed"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.at == "most" else value >= bound


GATEWAY = (
    Goal("G1", "p50 at c=1 / bare Envoy", "most", 1.15, 1.5),
    Goal("G2", "RPS at c=16 / bare Envoy", "least", 0.85, 0.65),
    Goal("G3", "RPS at c=16 / LiteLLM", "least", 50, 30),
    Goal("G4", "gateway CPU a call at c=16 / LiteLLM", "most", 1 / 50, 1 / 25),
    Goal("G5a", "p50 at c=1 / LiteLLM", "most", 1 / 30, 1 / 10),
    Goal("G5b", "p50 at c=1 / Portkey", "most", 1 / 4, 1 / 2),
    Goal("G6a", "p50 at c=1, body of 200 KB / bare Envoy", "most", 1.10, 1.35),
    Goal("G6b", "p50 at c=1, body of 2 MB / bare Envoy", "most", 1.10, 1.35),
    Goal("G8", "p50 at c=1, 10,000 models / 1 model", "most", 1.02, 1.1),
    Goal("G9", "admitted over a limit, 64-way race, 3 authorizers", "most", 0, 0),
    Goal("T1", "added time to the first token, ms", "most", 0.3, 1),
    Goal("T2", "gateway CPU a streamed chunk / bare Envoy", "most", 1.05, 1.3),
    Goal("T2b", "gateway CPU a streamed chunk / LiteLLM", "most", 1 / 40, 1 / 20),
    Goal("T3", "p99 of gaps between tokens, 500 streams, added, ms", "most", 2, 10),
    Goal("P1", "durable usage events a second / one SQLAlchemy commit each", "least", 100, 40),
    Goal("P3", "idle memory (PSS) of the platform / LiteLLM", "most", 0.35, 0.8),
)

WAKING = (
    Goal("C1", "asleep to first byte, embeddings / bare serve.py", "most", 0.05, 0.15),
    Goal("C2", "asleep to first byte, llama / bare exec, load, token", "most", 1.05, 1.25),
    Goal("C3", "speed of reading weights from disk / reading alone", "least", 0.95, 0.7),
    Goal("C4a", "our part of a wake, embeddings, ms", "most", 5, 20),
    Goal("C4b", "our part of a wake, llama, ms", "most", 5, 20),
    Goal("C5", "8 cold models at once / what the CPU needs at least", "most", 1.1, 1.5),
    Goal("C6a", "fork to first reply / start to first reply, best peer", "most", 0.1, 0.3),
    Goal("C6b", "without nest: start to first reply / best peer", "most", 0.1, 0.3),
    Goal("C7", "private memory, forked predictor / started cold", "most", 0.08, 0.25),
    Goal("L6", "memory for 100 users / 100 predictors", "most", 0.0105, 0.05),
)

SERVING = (
    Goal("S1", "chat tokens/s, 8 clients / llama-cpp-python's server", "least", 4, 2),
    Goal("S3", "embeddings/s, 32 clients / infinity-emb", "least", 1.3, 1),
    Goal("S4", "no-op predictor RPS on one core / best peer", "least", 8, 2),
    Goal("S6", "first token, 2,000 tokens known / unknown", "most", 0.02, 0.2),
)
