"""The cookie that ties a sign-in to the browser that began it."""

from fastapi import Request, Response

from dormouse_control.oidc import flows


def _name(public_url: str) -> str:
    # With the prefix browsers take it from this host only, over https only (RFC 6265bis, 4.1.3).
    return "__Host-dormouse-flow" if _is_https(public_url) else "dormouse-flow"


def _is_https(public_url: str) -> bool:
    return public_url.startswith("https:")


def give(response: Response, browser: str, *, public_url: str) -> None:
    response.set_cookie(
        _name(public_url),
        browser,
        max_age=int(flows.LIFE.total_seconds()),
        path="/",
        secure=_is_https(public_url),
        httponly=True,
        samesite="lax",  # the provider sends the browser back from another site
    )


def given(request: Request, *, public_url: str) -> str | None:
    return request.cookies.get(_name(public_url))


def take(response: Response, *, public_url: str) -> None:
    response.delete_cookie(
        _name(public_url),
        path="/",
        secure=_is_https(public_url),
        httponly=True,
        samesite="lax",
    )
