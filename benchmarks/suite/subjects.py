"""What is measured: something that answers OpenAI's calls, and its processes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Subject:
    """`pids` are its processes, without predictor and client; those below count too. `path` are
    those that calls go through, where there are others that also compute without any calls.
    """

    name: str
    port: int
    key: str
    pids: tuple[int, ...]
    model: str = "model-000"
    path: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def all_headers(self) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "authorization": f"Bearer {self.key}",
            **self.headers,
        }

    def answers(self) -> bool:
        """Whether a call gets what the mock says."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}]}
        try:
            answer = httpx.post(
                f"{self.url}/v1/chat/completions",
                json=body,
                headers=self.all_headers(),
                timeout=10,
                trust_env=False,
            )
        except httpx.HTTPError:
            time.sleep(0.2)
            return False
        if answer.status_code != 200:
            return False
        said: str = answer.json()["choices"][0]["message"]["content"]
        return said == "Hello there."
