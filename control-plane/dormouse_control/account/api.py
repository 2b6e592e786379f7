"""The pages to which the links in our mail lead. They hold nothing; their script calls the API."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from dormouse_control import rules
from dormouse_control.errors import NotFound

router = APIRouter(prefix="/account")

_FOLDER = Path(__file__).parent
_TYPES = {
    "verify": ("verify.html", "text/html; charset=utf-8"),
    "reset": ("reset.html", "text/html; charset=utf-8"),
    "register": ("register.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    # `form-action`: without our script a form must not put a password into an address.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@router.get("/{name}", include_in_schema=False, dependencies=[rules.ANYONE])
def account_page(name: str) -> Response:
    """A page, its script or its style."""
    if name not in _TYPES:
        raise NotFound("There is nothing at this path.")
    file, kind = _TYPES[name]
    return Response((_FOLDER / file).read_bytes(), headers=_HEADERS | {"content-type": kind})
