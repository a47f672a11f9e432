"""`serve`: run the gateway, and tell whoever started it where it is and how to ask it."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from functools import partial

from gateway import process, single, tokens
from gateway.cli import service, worker
from gateway.cli.service import Say
from gateway.config import load
from gateway.identity import SCOPE
from gateway.stores import DEFAULT_PROJECT, PrincipalType, Store
from gateway.supervisor import Supervisor

_EXAMPLE_PATH = "/ai-gateway/gemini/v1beta/models/gemini-3-5-flash:generateContent"


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command."""
    parser = subparsers.add_parser("serve", parents=[common, service.options()], help="run the gateway")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises ConfigurationError; 1 when it can't start for another reason."""
    read = partial(load, args.config, os.environ, service.settings(args))
    config = read()
    if config.server.workers == 1:
        return service.run(
            lambda say: single.run(config, read, partial(_announce, say)), process.loop_factory()
        )
    supervisor = Supervisor(config, read, worker.command())
    # uvloop can't give a process its own group; the parent has little to do anyway.
    return service.run(lambda say: supervisor.run(partial(_announce, say)), asyncio.new_event_loop)


async def _announce(say: Say, gateway: process.Started) -> None:
    """Say where it listens and, where there is no configuration file, how to start using it."""
    for address in gateway.addresses:
        say(f"gateway listening on {address}")
    say(f"admin listening on {gateway.admin_address}")
    for upstream in gateway.config.upstreams:
        if upstream.kind == "simulated":
            say(f"upstream {upstream.name!r} is SIMULATED: answers are made up here, no model is asked")
        else:
            say(f"upstream {upstream.name!r} is {upstream.base_url}")
    if gateway.config.path is None:
        await _introduce(say, gateway)


async def _introduce(say: Say, gateway: process.Started) -> None:
    if gateway.config.upstreams[0].kind == "simulated":
        say("(set GEMINI_API_KEY before starting, and Google AI Studio answers instead)")
    if await gateway.store.credentials(DEFAULT_PROJECT):
        say(f"another credential: {sys.executable} -m gateway credentials create --branch main")
        return
    token = await _first_credential(gateway.store, gateway.config.branches.default)
    say(f"credential (shown this once): {token}")
    say("try it:")
    say(
        f"curl {_url_arguments(gateway.addresses[0], _EXAMPLE_PATH)} "
        f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
        """-d '{"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}'"""
    )


def _url_arguments(address: str, path: str) -> str:
    """What makes curl ask there, for a shell."""
    scheme, _, socket = address.partition("+unix:")
    if socket:
        return f"--unix-socket {shlex.quote(socket)} {scheme}://localhost{path}"
    return shlex.quote(address + path)


async def _first_credential(store: Store, branch: str) -> str:
    token = tokens.new_token()
    await store.create_credential(
        DEFAULT_PROJECT,
        branch,
        credential_id=tokens.token_id(token),
        token_hash=tokens.hash_token(token),
        name="first start",
        principal_type=PrincipalType.USER,
        scopes=[SCOPE],
        lifetime=None,
    )
    return token
