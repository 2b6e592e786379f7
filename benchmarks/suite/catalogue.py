"""What a busy installation has: a catalogue of many models, 1,000 users, 10,000 keys."""

import secrets
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

USERS = 1000
KEYS = 10_000
MODELS = 1000
SERVICE = "bench"

_SERVICE = """\
title: Bench
description: Answers at once.
category: text
engine: llama
endpoints: [chat.completions]
access: open
placement: serverless
scale: {idle_seconds: 300, max_replicas: 1, timeout_seconds: 120, queue_length: 200}
resources:
  starter: {cpu: "1", memory: 1Gi}
  standard: {cpu: "1", memory: 1Gi}
prices: {per_1000_prompt_tokens: 0.00002}
default_model: {starter: model-000, standard: model-000}
"""
_MODEL = """\
[model]
title = Model
description = None.
profiles = starter, standard
source = file:/nowhere
size_mb = 1
layers = 1
context = 256
parameters = 1
license = MIT
"""


def write(folder: Path, models: int) -> None:
    """One service with models `model-000`, `model-001` and so on."""
    service = folder / SERVICE
    service.mkdir(parents=True)
    (service / "service.yaml").write_text(_SERVICE)
    for number in range(models):
        name = f"model-{number:03}"
        (service / name).mkdir()
        (service / name / f"{name}.ini").write_text(_MODEL)


def populate(database: Path) -> None:
    """Users and keys beside the one that calls; nobody knows these keys."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(database) as opened:
        users = [f"usr_{number:026}" for number in range(USERS)]
        opened.executemany(
            "INSERT INTO user (id, email, status, role, tier, created_at)"
            " VALUES (?, ?, 'active', 'user', 'standard', ?)",
            [(user, f"{user}@example.org", now) for user in users],
        )
        opened.executemany(
            "INSERT INTO api_key (id, user_id, name, prefix, sha256, created_at)"
            " VALUES (?, ?, 'x', 'dm_xxxxxx', ?, ?)",
            [
                (f"key_{number:026}", users[number % USERS], secrets.token_hex(32), now)
                for number in range(KEYS)
            ],
        )
    opened.close()
