"""Build the stand-in for AWS API Gateway's WebSocket APIs as an aiohttp application."""

import os
import secrets
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from loadgen.protocol.api_gateway.limits import MESSAGE_MAX_BYTES
from loadgen.protocol.hosts import is_loopback
from loadgen.server import quiet
from loadgen.stand_ins.api_gateway import link
from loadgen.stand_ins.api_gateway.authorization import Keys, read_users
from loadgen.stand_ins.api_gateway.gateway import Gateway
from loadgen.stand_ins.api_gateway.invoking import BackendGoneError, BackendProcess
from loadgen.stand_ins.api_gateway.journal import GatewayJournal
from loadgen.stand_ins.api_gateway.management import ManagementEndpoint
from loadgen.stand_ins.api_gateway.options import Options
from loadgen.stand_ins.api_gateway.sockets import SocketEndpoint
from loadgen.stand_ins.options import OptionError
from loadgen.stand_ins.settings import Settings

STAGE: Final = "production"
_CONNECTIONS: Final = f"/{STAGE}/@connections"


def build(settings: Settings) -> web.Application:
    """Return the application with three endpoints: the stage, `@connections`, and (on this machine only) `/stats`.

    When the application starts, it runs the backend as a process and opens a second port on loopback, through which the
    backend reaches `@connections`.

    Raises:
        ValueError: an option is not valid.
        OSError: the journal cannot be written.
    """
    options = Options.of(settings.options)
    users = {} if options.users is None else read_users(options.users)
    keys = Keys.of_environment(os.environ)
    if options.authorizer == "iam" and keys is None:
        raise OptionError(
            "--option authorizer=iam needs credentials to check signatures by: set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, to any values, for the server and for its clients"
        )
    journal = GatewayJournal(settings.journal)
    backend = BackendProcess()
    gateway = Gateway(options, backend, journal)
    token = secrets.token_hex(16)
    management = ManagementEndpoint(gateway, (token, settings.api_key), keys)
    app = web.Application(client_max_size=MESSAGE_MAX_BYTES)
    _add_management(app, management)
    app.router.add_get(
        f"/{STAGE}", SocketEndpoint(gateway, settings.api_key, users, keys).handle, allow_head=False
    )

    async def stats(request: web.Request) -> web.Response:
        if not is_loopback(request.remote or ""):
            raise web.HTTPNotFound
        try:
            answer = await backend.invoke("$stats")
        except BackendGoneError:
            raise web.HTTPServiceUnavailable from None
        body = b'{"gateway":%b,"backend":%b}\n' % (link.encode(gateway.report()), answer.body.encode())
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/stats", stats)

    async def run(_: web.Application) -> AsyncIterator[None]:
        inner = web.Application(client_max_size=MESSAGE_MAX_BYTES)
        _add_management(inner, management)
        runner = web.AppRunner(inner, handle_signals=False, access_log=None, logger=quiet.logger())
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            await backend.start(_start(options, settings, token, port))
            yield
        finally:
            await backend.stop()
            await runner.cleanup()
            journal.close()

    async def close_connections(_: web.Application) -> None:
        await gateway.close_all()

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(close_connections)
    return app


def _add_management(app: web.Application, management: ManagementEndpoint) -> None:
    path = _CONNECTIONS + "/{id}"
    app.router.add_post(path, management.post)
    app.router.add_get(path, management.get, allow_head=False)
    app.router.add_delete(path, management.delete)


def _start(options: Options, settings: Settings, token: str, port: int) -> link.Start:
    return link.Start(
        url=f"http://127.0.0.1:{port}{_CONNECTIONS}",
        token=token,
        concurrency=options.concurrency,
        invocations=options.invocations,
        query_ms=options.query_ms,
        retries=options.retries,
        acknowledge_after=options.acknowledge == "after",
        journal=None if settings.journal is None else str(settings.journal.absolute()),
    )
