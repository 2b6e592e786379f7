"""Files behind a URL, by HTTP with ranges."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import httpx

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources.store import Interrupted, Opened, RemoteFile

_TIMEOUT = httpx.Timeout(30, connect=10)


def remote(
    url: str,
    *,
    name: str = "",
    headers: Mapping[str, str] | None = None,
    size: int | None = None,
    sha256: str | None = None,
) -> RemoteFile:
    def opened(offset: int, tag: str | None) -> Opened:
        return _open(url, offset, tag, headers or {})

    return RemoteFile(name, opened, size, sha256)


def get_json(url: str, headers: Mapping[str, str]) -> object:
    try:
        answer = httpx.get(url, headers=dict(headers), timeout=_TIMEOUT, follow_redirects=True)
        answer.raise_for_status()
        found: object = answer.json()
    except httpx.HTTPStatusError as error:
        raise WeightsError(f"{shown(url)}: answered {error.response.status_code}") from error
    except (httpx.HTTPError, ValueError) as error:
        raise WeightsError(f"{shown(url)}: {type(error).__name__}") from error
    return found


def shown(url: str) -> str:
    """A URL without name, password and query: its text reaches callers."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _open(url: str, offset: int, tag: str | None, headers: Mapping[str, str]) -> Opened:
    wanted = {"accept-encoding": "identity", **headers}
    if offset and tag:
        # If-Range: another version is sent from its beginning, never joined to the old one.
        wanted |= {"range": f"bytes={offset}-", "if-range": tag}
    client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
    try:
        response = client.send(client.build_request("GET", url, headers=wanted), stream=True)
    except httpx.HTTPError as error:
        client.close()
        raise Interrupted(str(error)) from error
    status = response.status_code
    if status not in (200, 206):
        response.close()
        client.close()
        if status == 416 and offset:  # nothing lies beyond what we have: start again
            return _open(url, 0, None, headers)
        if status == 429 or status >= 500:
            raise Interrupted(f"status {status}")
        raise WeightsError(f"{shown(url)}: answered {status}")
    start = offset if status == 206 else 0
    length = response.headers.get("content-length")
    total = start + int(length) if length else None
    version = response.headers.get("etag") or response.headers.get("last-modified")
    return Opened(start, total, version, _chunks(client, response))


def _chunks(client: httpx.Client, response: httpx.Response) -> Iterator[bytes]:
    try:
        # As it arrives: gathering larger chunks would lose what came before a dropped connection.
        yield from response.iter_raw()
    except httpx.HTTPError as error:
        raise Interrupted(str(error)) from error
    finally:
        response.close()
        client.close()
