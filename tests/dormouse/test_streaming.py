import gc
import time
from typing import Any

import pytest

import dormouse
from dormouse import Dormouse

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = ("POST", "/v1/chat/completions")


def stream(client: Dormouse, **options: Any) -> Any:
    return client.chat.completions.create(model="small", messages=MESSAGES, stream=True, **options)


def text(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_stream_is_typed_chunks(client: Dormouse) -> None:
    with stream(client) as chunks:
        found = list(chunks)
    assert [type(chunk).__name__ for chunk in found] == ["ChatCompletionChunk"] * 3
    assert text(found) == "You said: hi"
    assert found[-1].choices[0].finish_reason == "stop"


def test_what_came_in_headers_is_there_before_the_first_chunk(client: Dormouse) -> None:
    with stream(client) as chunks:
        assert (chunks.request_id, chunks.model_used, chunks.cold_start_ms) == (
            "req_1",
            "small",
            140,
        )


def test_usage_comes_in_a_last_chunk_without_choices(platform: Any, client: Dormouse) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    last = {"id": "chatcmpl-1", "model": "small", "choices": [], "usage": usage}
    parts = [platform.event(platform.chunk("a", usage=None)), platform.event(last), platform.done]
    platform.once(*CHAT, lambda _, reply: reply.events(parts))
    *_, chunk = stream(client, stream_options={"include_usage": True})
    assert (chunk.choices, chunk.usage.total_tokens) == ([], 4)


def one_byte_at_a_time(data: bytes) -> list[bytes]:
    return [data[start : start + 1] for start in range(len(data))]


@pytest.mark.parametrize("cut", [lambda data: [data], one_byte_at_a_time], ids=["whole", "bytes"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_stream_may_be_cut_anywhere(
    platform: Any, client: Dormouse, cut: Any, end: bytes
) -> None:
    # U+2028, U+0085 and form feed end a line of text, but not of an event stream.
    said = "é🐭\u2028x\u0085y\x0cz"
    data = b": keep-alive\n\n" + platform.event(platform.chunk(said)) + b"event: x\nid: 1\n\n"
    data += platform.event(platform.chunk("!")).replace(b"data: ", b"data:") + platform.done
    parts = cut(data.replace(b"\n", end))
    platform.once(*CHAT, lambda _, reply: reply.events(parts))
    assert text(stream(client)) == said + "!"


def test_data_over_several_lines_is_one_document(platform: Any, client: Dormouse) -> None:
    event = platform.event(platform.chunk("a")).replace(b', "model"', b',\ndata: "model"')
    assert event.count(b"data: ") == 2
    platform.once(*CHAT, lambda _, reply: reply.events([event, platform.done]))
    assert text(stream(client)) == "a"


def test_chunks_come_as_they_are_made(platform: Any, client: Dormouse) -> None:
    parts = [platform.event(platform.chunk("a")) for _ in range(3)] + [platform.done]
    platform.once(*CHAT, lambda _, reply: reply.events(parts, pause=1.5))
    with stream(client) as chunks:
        start = time.monotonic()
        next(chunks)
        assert time.monotonic() - start < 1.4  # before the second was sent


def test_a_stream_that_breaks_off_keeps_what_came_and_raises(
    platform: Any, client: Dormouse
) -> None:
    parts = [platform.event(platform.chunk("a")), platform.event(platform.chunk("b"))]
    platform.always(*CHAT, lambda _, reply: reply.events(parts, end=False))
    chunks = stream(client)
    found = [next(chunks), next(chunks)]
    with pytest.raises(dormouse.APIConnectionError, match="broke off after 2 chunks"):
        next(chunks)
    assert text(found) == "ab"
    assert len(platform.requests) == 1  # never repeated


def test_a_stream_that_ends_unfinished_raises(platform: Any, client: Dormouse) -> None:
    parts = [platform.event(platform.chunk("a"))]
    platform.once(*CHAT, lambda _, reply: reply.events(parts))
    with pytest.raises(dormouse.APIConnectionError, match="unfinished after 1 chunks"):
        list(stream(client))


def test_a_stream_that_stands_still_is_a_timeout(platform: Any, client: Dormouse) -> None:
    parts = [platform.event(platform.chunk("a")), platform.done]
    platform.once(*CHAT, lambda _, reply: reply.events(parts, pause=1.2))
    with pytest.raises(dormouse.APITimeoutError, match="stood still after 1 chunks"):
        list(stream(client, timeout=0.4))


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("server_error", dormouse.InternalServerError),
        ("rate_limit_error", dormouse.RateLimitError),
        ("invalid_request_error", dormouse.BadRequestError),
        (None, dormouse.InternalServerError),
    ],
)
def test_an_error_in_a_stream_is_a_typed_error(
    platform: Any, client: Dormouse, type: Any, kind: Any
) -> None:
    error = {"message": "It fell over.", "type": type, "param": None, "code": "internal_error"}
    parts = [platform.event(platform.chunk("a")), platform.event({"error": error})]
    platform.once(*CHAT, lambda _, reply: reply.events(parts, x_request_id="req_9"))
    chunks = stream(client)
    next(chunks)
    with pytest.raises(kind, match="It fell over") as caught:
        next(chunks)
    assert (caught.value.code, caught.value.request_id) == ("internal_error", "req_9")


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: [1]\n\n", b'data: {"id": "1"}\n\n'])
def test_an_event_that_is_no_chunk_is_named_so(
    platform: Any, client: Dormouse, data: bytes
) -> None:
    platform.once(*CHAT, lambda _, reply: reply.events([data]))
    with pytest.raises(dormouse.UnexpectedAnswerError):
        list(stream(client))


def test_an_answer_that_is_no_stream_is_named_so(platform: Any, client: Dormouse) -> None:
    platform.once(*CHAT, lambda _, reply: reply.json(200, {"id": "1"}))
    with pytest.raises(dormouse.UnexpectedAnswerError, match="not a stream"):
        stream(client)


def test_an_error_before_the_stream_is_a_typed_error(platform: Any, client: Dormouse) -> None:
    platform.entitled.clear()
    with pytest.raises(dormouse.PermissionDeniedError) as caught:
        stream(client)
    assert caught.value.code == "not_entitled"


def endless(platform: Any) -> Any:
    while True:
        yield platform.event(platform.chunk("a"))


@pytest.mark.parametrize("leave", ["with", "close", "forget"])
def test_leaving_a_stream_hangs_up(platform: Any, client: Dormouse, leave: str) -> None:
    platform.once(*CHAT, lambda _, reply: reply.events(endless(platform), pause=0.001))
    chunks = stream(client)
    if leave == "with":
        with chunks:
            next(chunks)
    elif leave == "close":
        next(chunks)
        chunks.close()
    else:
        next(chunks)
        del chunks
        gc.collect()
    assert platform.hung_up.wait(5)


def test_a_stream_that_failed_hangs_up(platform: Any, client: Dormouse) -> None:
    parts = [platform.event({"error": {"message": "It fell over."}})]
    endless_after = (part for some in (parts, endless(platform)) for part in some)
    platform.once(*CHAT, lambda _, reply: reply.events(endless_after, pause=0.001))
    chunks = stream(client)
    with pytest.raises(dormouse.InternalServerError) as caught:
        next(chunks)
    assert platform.hung_up.wait(5)
    assert caught.tb is not None  # nobody but the stream itself had let go of it


def test_a_stream_that_was_never_read_can_be_closed(platform: Any, client: Dormouse) -> None:
    platform.once(*CHAT, lambda _, reply: reply.events(endless(platform), pause=0.001))
    chunks = stream(client)
    chunks.close()
    assert platform.hung_up.wait(5)
    assert list(chunks) == []


def test_a_stream_that_was_read_leaves_its_connection_for_the_next(
    platform: Any, client: Dormouse
) -> None:
    for _ in range(5):
        list(stream(client))
    assert platform.connections == 1


def test_many_streams_may_be_open_at_once(client: Dormouse) -> None:
    streams = [stream(client) for _ in range(20)]
    for _ in range(3):
        for chunks in streams:
            next(chunks)
    assert [list(chunks) for chunks in streams] == [[]] * 20
