"""Builds the control plane from its settings. The only place where its parts are constructed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import dormouse_control.tables  # noqa: F401  foreign keys are found only among known tables
from dormouse.catalog import Catalog, LiveCatalog
from dormouse.keyring import KeyRing
from dormouse_control import keys
from dormouse_control.db import Database, connect
from dormouse_control.identity.passwords import Passwords
from dormouse_control.identity.sessions import Signing
from dormouse_control.internal.bell import Bell
from dormouse_control.nest import prepare
from dormouse_control.oidc.provider import Providers
from dormouse_control.private_files import ensure_secret
from dormouse_control.restores.following import follow
from dormouse_control.restores.journal import Journal
from dormouse_control.runtimes.base import Runtime
from dormouse_control.runtimes.local import LocalRuntime
from dormouse_control.sealing import Sealing
from dormouse_control.settings import Settings

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Platform:
    """Everything that the API needs. `access_keys` verify what `signing` signs; by `delegating` the
    control plane makes calls for users.
    """

    settings: Settings
    database: Database
    live_catalog: LiveCatalog
    runtime: Runtime
    signing: Signing
    access_keys: KeyRing
    delegating: keys.Signer
    passwords: Passwords
    sealing: Sealing
    providers: Providers
    journal: Journal
    bell: Bell
    clock: Clock

    @property
    def catalog(self) -> Catalog:
        """As it is at this moment."""
        return self.live_catalog.current


def build(
    settings: Settings, *, runtime: Runtime | None = None, clock: Clock | None = None
) -> Platform:
    """Makes folders and keys that are missing; opens no connection.

    Raises CatalogError, OSError, or ValueError for keys and settings that cannot be used.
    """
    for folder in (settings.home, settings.run_folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys.ensure_keys(settings.keys_folder)
    clock = clock or (lambda: datetime.now(UTC))
    database, journal = connect(settings.database_url), Journal(settings.home)
    follow(database.sessions, journal, clock)
    return Platform(
        settings=settings,
        database=database,
        live_catalog=LiveCatalog(settings.services),
        runtime=runtime or LocalRuntime(settings.nest_socket, partial(prepare.write, settings)),
        signing=Signing(
            signer=keys.Signer(settings.keys_folder, "access"),
            refresh=ensure_secret(settings.keys_folder / "refresh.key"),
            access_seconds=settings.access_token_seconds,
            life=timedelta(days=settings.refresh_token_days),
            idle=timedelta(days=settings.session_idle_days),
        ),
        access_keys=keys.key_ring(settings.keys_folder, "access"),
        delegating=keys.Signer(settings.keys_folder, "delegated"),
        passwords=Passwords(),
        sealing=Sealing(ensure_secret(settings.keys_folder / "control-plane.key")),
        providers=Providers(settings.oidc_providers, public_url=settings.public_url, clock=clock),
        journal=journal,
        bell=Bell(database.sessions),
        clock=clock,
    )
