"""The aiohttp application of the stand-in."""

from aiohttp import web

from loadgen.protocol.appsync_graphql.endpoints import PATH, REALTIME
from loadgen.server.bodies import BODY_MAX_BYTES
from loadgen.server.cors import preflight
from loadgen.stand_ins.appsync_graphql.api import GraphqlApi
from loadgen.stand_ins.appsync_graphql.settings import GraphqlSettings
from loadgen.stand_ins.journal import Journal
from loadgen.stand_ins.settings import Settings


def build(settings: Settings) -> web.Application:
    """Return the application: mutations at `/graphql`, connections at `/graphql` and `/graphql/realtime`.

    AWS has different hosts for mutations and connections, both with the path `/graphql`; a custom domain has
    `/graphql/realtime` for connections.

    Raises:
        ValueError: an option cannot be used; the message is one sentence.
        OSError: the journal cannot be written.
    """
    checked = GraphqlSettings.of(settings)
    journal = Journal(settings.journal)
    api = GraphqlApi(checked, journal)
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post(PATH, api.post)
    app.router.add_options(PATH, preflight)
    app.router.add_get(PATH, api.upgrade, allow_head=False)
    app.router.add_get(PATH + REALTIME, api.upgrade, allow_head=False)

    async def close_connections(_: web.Application) -> None:
        await api.close_all()

    async def close_journal(_: web.Application) -> None:
        journal.close()

    app.on_shutdown.append(close_connections)
    app.on_cleanup.append(close_journal)
    return app
