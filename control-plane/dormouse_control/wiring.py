"""Builds the control plane from its settings. The only place where its parts are constructed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any  # a JWKS document is JSON

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dormouse.catalog import Catalog, read_catalog
from dormouse_control import keys
from dormouse_control.db import Database, connect
from dormouse_control.identity.passwords import Passwords
from dormouse_control.identity.sessions import Signing
from dormouse_control.runtimes.base import Runtime
from dormouse_control.runtimes.local import LocalRuntime
from dormouse_control.settings import Settings

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Platform:
    """Everything that the API needs. `access_keys` verify what `signing` signs."""

    settings: Settings
    database: Database
    catalog: Catalog
    runtime: Runtime
    signing: Signing
    access_keys: Mapping[str, Ed25519PublicKey]
    jwks: Mapping[str, Any]
    passwords: Passwords
    clock: Clock


def build(
    settings: Settings, *, runtime: Runtime | None = None, clock: Clock | None = None
) -> Platform:
    """Makes folders and keys that are missing; opens no connection.

    Raises CatalogError, OSError, or ValueError for keys and settings that cannot be used.
    """
    for folder in (settings.home, settings.run_folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = keys.ensure_keys(settings.keys_folder)
    return Platform(
        settings=settings,
        database=connect(settings.database_url),
        catalog=read_catalog(settings.services),
        runtime=runtime or LocalRuntime(settings.nest_socket),
        signing=Signing(
            access=made.access,
            refresh=keys.ensure_secret(settings.keys_folder / "refresh.key"),
            access_seconds=settings.access_token_seconds,
        ),
        access_keys=keys.load_public_keys(settings.keys_folder, "access"),
        jwks=keys.jwks(settings.keys_folder),
        passwords=Passwords(),
        clock=clock or (lambda: datetime.now(UTC)),
    )
