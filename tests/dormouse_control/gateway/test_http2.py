"""T69: what makes HTTP/2 dear for a server ends the connection, and nothing else."""

import httpx
import pytest

from fixtures import http2
from fixtures.raw_http import exchange

OPEN = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0)


def _streams(count: int, more: bytes = b"") -> list[bytes]:
    return [
        http2.frame(
            http2.HEADERS,
            http2.END_HEADERS | http2.END_STREAM,
            2 * number + 1,
            http2.block(http2.GET) + more,
        )
        for number in range(count)
    ]


def _reset(number: int) -> bytes:
    return http2.frame(http2.RST_STREAM, 0, 2 * number + 1, (8).to_bytes(4, "big"))


def _send(gateway, *frames: bytes, seconds: float = 2.0):
    received, closed = exchange(
        httpx.URL(gateway.url).port, OPEN, b"".join(frames), seconds=seconds, pause=0.1
    )
    return http2.kinds(received), closed


@pytest.fixture(autouse=True)
def _others_go_on(gateway):
    yield
    assert httpx.get(gateway.url + "/healthz").status_code == 200


def test_http2_is_spoken(gateway):
    kinds, closed = _send(gateway, *_streams(3), seconds=0.5)
    assert (kinds.count(http2.HEADERS), closed) == (3, False)


def test_t69_streams_that_are_reset_at_once_end_the_connection(gateway):
    frames = [part + _reset(number) for number, part in enumerate(_streams(5000))]
    _, closed = _send(gateway, *frames)
    assert closed
    # It stopped reading long before the end.
    assert len(gateway.control_plane.seen) < 1500


def test_t69_headers_that_never_end_are_not_collected(gateway):
    first = http2.frame(http2.HEADERS, http2.END_STREAM, 1, http2.block(http2.GET))
    more = http2.frame(http2.CONTINUATION, 0, 1, http2.block([(b"x" * 20, b"y" * 900)]))
    _, closed = _send(gateway, first, *[more] * 5000)
    assert closed
    assert gateway.control_plane.seen == []


def test_t69_empty_continuations_are_counted_too(gateway):
    first = http2.frame(http2.HEADERS, http2.END_STREAM, 1, http2.block(http2.GET))
    _, closed = _send(gateway, first, *[http2.frame(http2.CONTINUATION, 0, 1)] * 50_000)
    assert closed
    assert gateway.control_plane.seen == []


def test_t69_one_byte_that_stands_for_four_thousand_counts_as_four_thousand(gateway):
    """A field that was sent once, named a thousand times."""
    bomb = http2.remembered(b"x-large", b"a" * 4000) + http2.AGAIN * 1000
    _send(gateway, *_streams(1, bomb))
    assert gateway.control_plane.seen == []


@pytest.mark.parametrize(
    "flood",
    [
        http2.frame(http2.PING, 0, 0, b"12345678"),
        http2.frame(http2.SETTINGS, 0, 0),
        http2.frame(2, 0, 1, b"\x00\x00\x00\x00\x10"),  # PRIORITY
        http2.frame(0, 0, 1),  # DATA without data
        http2.frame(8, 0, 0, b"\x00\x00\x00\x01"),  # WINDOW_UPDATE
    ],
    ids=["ping", "settings", "priority", "data", "window"],
)
def test_t69_floods_of_small_frames_end_the_connection(gateway, flood):
    _, closed = _send(gateway, flood * 100_000)
    assert closed


def test_t69_more_streams_than_allowed_are_refused(gateway):
    gateway.control_plane.delay_seconds = 0.5
    try:
        kinds, _ = _send(gateway, *_streams(300), seconds=3)
    finally:
        gateway.control_plane.delay_seconds = 0.0
    assert kinds.count(http2.HEADERS) <= 100
    assert len(gateway.control_plane.seen) <= 100


@pytest.mark.parametrize(
    "field",
    [
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"content-length", b"5"),
        (b"host", b"other.example"),
        (b"x\r\nx-hidden", b"1"),
        (b"x", b"a\r\nx-hidden: 1"),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"X-Upper", b"1"),
        (b":path", b"/other"),
        (b":method", b"POST"),
        (b"x y", b"1"),
        (b"", b"1"),
    ],
)
def test_t55_what_http1_would_read_otherwise_goes_no_further(gateway, field):
    """A proxy of HTTP/2 before servers of HTTP/1.1 writes such fields anew."""
    _send(gateway, *_streams(1, http2.block([field])), seconds=0.5)
    for call in gateway.control_plane.seen:
        assert (call.method, call.path, call.headers["host"]) == ("GET", "/healthz", "localhost")
        assert "x-hidden" not in call.headers
        assert call.body == b""
    if field[0] != b"host":
        assert gateway.control_plane.seen == []
