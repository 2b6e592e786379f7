"""The authorizer's process: a composition root of its own, without settings and database."""

import argparse
import asyncio
import os
import socket
from pathlib import Path

import uvicorn
from structlog import get_logger

from dormouse_control import log as logging
from dormouse_control.authorizer.accounting.accounts import Accounts
from dormouse_control.authorizer.accounting.leasing import Leasing
from dormouse_control.authorizer.accounting.listening import Listening, private_datagram_socket
from dormouse_control.authorizer.app import Authorizer
from dormouse_control.authorizer.check import Checker
from dormouse_control.authorizer.control_plane import ControlPlane
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.decisions import SETTLE_SECONDS, DecisionTable
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.permits import Permits
from dormouse_control.authorizer.principals import ControlPlaneDown, Principals
from dormouse_control.authorizer.routes import REFRESH_SECONDS, Routes
from dormouse_control.keys import Signer, key_ring
from dormouse_control.metrics import serve_metrics
from dormouse_control.nest.client import NestClient

log = get_logger(__name__)

SWEEP_SECONDS = 0.1
BOOKS_SECONDS = 0.5


def main(arguments: list[str]) -> None:
    options = _options(arguments)
    logging.configure("authorizer", options.log_level)
    serve_metrics(options.metrics_port)
    asyncio.run(_serve(options))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dormouse_control authorizer", description=__doc__)
    parser.add_argument("--listen", required=True, help="Unix socket the gateway asks on")
    parser.add_argument("--control-plane", required=True, help="Unix socket of its internal API")
    parser.add_argument("--nest", required=True, type=Path, help="Unix socket of the nest")
    parser.add_argument("--decisions", type=Path, help="file that a gateway beside us has mapped")
    parser.add_argument(
        "--meters", required=True, type=Path, help="Unix socket that predictors send meters to"
    )
    parser.add_argument(
        "--name", default="authorizer", help="what it leases limits as; two never share one"
    )
    parser.add_argument("--keys", required=True, type=Path, help="folder of keys")
    parser.add_argument("--metrics-port", type=int, default=0, help="0 = any free port")
    parser.add_argument("--log-level", default="info")
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace) -> None:
    source = ControlPlane(options.control_plane)
    principals = Principals(source)
    tokens = InternalTokens(Signer(options.keys, "internal"), f"unix:{options.meters.name}")
    routes = Routes(source)
    accounts = Accounts(Leasing(source, options.name), settle_seconds=SETTLE_SECONDS)
    permits = _permits(options.decisions, accounts)
    nest = NestClient(options.nest, leaving=permits.predictor_left if permits else None)
    checker = Checker(
        credentials=Credentials(
            key_ring(options.keys, "access"), key_ring(options.keys, "delegated")
        ),
        principals=principals,
        routes=routes,
        accounts=accounts,
        tokens=tokens,
        nest=nest,
        permits=permits,
    )
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Listening(accounts.hear), sock=private_datagram_socket(options.meters)
    )
    background = [
        asyncio.create_task(source.follow_revocations(principals, tokens, permits)),
        asyncio.create_task(_refresh(routes)),
        asyncio.create_task(_keep_books(accounts, permits)),
    ]
    if permits is not None:
        background.append(asyncio.create_task(_sweep(permits)))
    config = uvicorn.Config(
        Authorizer(checker),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    for task in background:
        # Without them revoked keys would be served for ever: better to be started again.
        task.add_done_callback(lambda ended: _stop(server, ended))
    await server.serve(sockets=[_private_socket(options.listen)])
    for task in background:
        task.cancel()


def _stop(server: uvicorn.Server, ended: "asyncio.Task[None]") -> None:
    if not ended.cancelled():
        log.error("background_ended", exc_info=ended.exception())
        server.should_exit = True


def _private_socket(path: str) -> socket.socket:
    """Only our own processes may open it; uvicorn's own would be open to everybody."""
    Path(path).unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(path)
    os.chmod(path, 0o600)
    return bound


def _permits(decisions: Path | None, accounts: Accounts) -> Permits | None:
    """None: the gateway asks for every call, as it does in a cluster."""
    if decisions is None:
        return None
    try:
        permits = Permits(DecisionTable(decisions), accounts)
    except OSError as error:
        log.warning("no_decisions_for_the_gateway", reason=str(error))
        return None
    accounts.recall, accounts.settle = permits.recall, permits.sweep
    accounts.changed = permits.changed
    return permits


async def _keep_books(accounts: Accounts, permits: Permits | None) -> None:
    while True:
        if permits is not None:
            permits.count()
        accounts.sweep()
        await asyncio.sleep(BOOKS_SECONDS)


async def _sweep(permits: Permits) -> None:
    while True:
        permits.sweep()
        await asyncio.sleep(SWEEP_SECONDS)


async def _refresh(routes: Routes) -> None:
    while True:
        try:
            await routes.refresh()
        except ControlPlaneDown:
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(REFRESH_SECONDS)
