"""The gateway in one process: what clients connect to and the admin listener, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from gateway.admin import create_admin_app, serve_admin
from gateway.config import Config
from gateway.exposition import Exposition, ShippingFigures
from gateway.listeners import bind, url
from gateway.machine import default_limits
from gateway.notify import notify
from gateway.page import add_usage_page
from gateway.process import Announce, Started, catch_reload, catch_signals, warn
from gateway.reload import Reloader
from gateway.server import Gateway
from gateway.target_figures import TargetFigures


async def run(config: Config, read: Callable[[], Config], announce: Announce) -> None:
    """Serve in this process until SIGTERM or SIGINT, then drain; a second signal cuts the drain short.

    `read` gives the configuration as it is now, for SIGHUP and for changed files of secrets.
    `announce` is called when every address accepts connections and a signal ends the gateway gently.
    Raises StoreError or ListenError when it can't start.
    """
    gateway = Gateway(config)
    reloader = Reloader(config, read, gateway.take_up)
    catch_reload(config, reloader.ask)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(gateway.close)
        await gateway.build()
        models = [model.id for model in config.catalog.models]
        figures = TargetFigures(gateway.targets, models)
        app = create_admin_app(
            ready=lambda: (gateway.state == "serving", gateway.state),
            exposition=Exposition(
                gateway.snapshot,
                ShippingFigures(gateway.shipper),
                figures,
                look=figures.look,
            ),
            store=gateway.store,
            targets=gateway.targets,
            settings=config.admin,
            listen=config.server.admin_listen,
        )
        add_usage_page(
            app,
            store=gateway.store,
            snapshot=gateway.observer.snapshot,
            counters=gateway.counters,
            targets=gateway.targets,
            defaults=default_limits(config),
            models=models,
        )
        admin_address = await serve_admin(stack, config.server.admin_listen, app)
        addresses = []
        for listen in config.server.listen:
            bound = await bind(listen)
            await gateway.listen(bound)
            addresses.append(url(config.server.scheme, listen, bound))
        stop, cut = catch_signals()
        await gateway.start()
        warn(config)
        await announce(Started(config, gateway.store, addresses, admin_address))
        notify("READY=1")
        reloading = asyncio.create_task(reloader.run())
        await stop.wait()
        reloading.cancel()
        notify("STOPPING=1")
        await gateway.drain(cut)
