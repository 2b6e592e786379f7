"""What a call is said to have used, what the stream says and what the ledger holds: one number."""

import json
import socket
import time

import httpx

END_TOKEN = "1"  # <|end|> of the starter model


def stream(platform, key, **fields):
    """Every event of a streamed chat, and the request id."""
    body = {
        "model": "dormouse-chat",
        "messages": [{"role": "user", "content": "What is Dormouse?"}],
        "stream": True,
        **fields,
    }
    headers = {"authorization": f"Bearer {key}"}
    url = platform.url + "/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [json.loads(event) for event in events[:-1]], answer.headers["x-request-id"]


def test_answer_stream_and_ledger_agree(platform, account):
    plain = platform.chat(account.key)
    usage = plain.json()["usage"]
    events, streamed_id = stream(
        platform, account.key, temperature=0, stream_options={"include_usage": True}
    )
    assert events[-1]["usage"] == usage
    for request_id in (plain.headers["x-request-id"], streamed_id):
        row = platform.usage(account.access_token, request_id)
        assert row["prompt_tokens"] == usage["prompt_tokens"]
        assert row["completion_tokens"] == usage["completion_tokens"]
        assert row["outcome"] == "completed"


def test_embeddings_are_counted_too(platform, account):
    body = {"model": "all-minilm-l6-v2", "input": ["one two", "three"]}
    answer = platform.post("/v1/embeddings", account.key, json=body)
    row = platform.usage(account.access_token, answer.headers["x-request-id"])
    assert row["prompt_tokens"] == answer.json()["usage"]["prompt_tokens"] > 0
    assert row["completion_tokens"] == 0


def test_who_hangs_up_pays_for_what_was_made_and_no_more(platform, account):
    known = {item["request_id"] for item in _items(platform, account)}
    _hang_up_after(platform, account.key, tokens=3)
    new = []

    def settled():
        new[:] = [item for item in _items(platform, account) if item["request_id"] not in known]
        return new

    assert platform.until(settled, 5) < 3
    [row] = new
    assert row["outcome"] == "cancelled"
    assert 3 <= row["completion_tokens"] < 8 * 1900
    time.sleep(0.5)
    assert platform.predictors(account.key, "chat")[0]["in_flight"] == 0
    assert len([item for item in _items(platform, account) if item["request_id"] not in known]) == 1


def _items(platform, account):
    return platform.get("/api/v1/usage?limit=200", account.access_token).json()["items"]


def _hang_up_after(platform, key, *, tokens):
    # Never the end token, so that it goes on for the whole context if nobody stops it.
    body = json.dumps(
        {
            "model": "dormouse-chat",
            "messages": [{"role": "user", "content": "What is Dormouse?"}],
            "stream": True,
            "max_tokens": 1900,
            "logit_bias": {END_TOKEN: -100},
            "n": 8,
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", platform.port), timeout=20) as connection:
        connection.sendall(head + body)
        seen = b""
        # A choice opens with its role alone, in an event of its own, which no token stands for.
        while seen.count(b'"delta":{"content":') < tokens:
            piece = connection.recv(4096)
            assert piece, seen
            seen += piece
