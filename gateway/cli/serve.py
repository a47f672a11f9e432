"""`serve`: run the gateway, and tell whoever started it where it is and how to ask it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from gateway import server, tokens
from gateway.cli.management import fail
from gateway.config import load
from gateway.errors import StoreError
from gateway.identity import SCOPE
from gateway.stores import DEFAULT_PROJECT, PrincipalType, Store

_EXAMPLE_MODEL = "gemini-2-5-flash"


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command."""
    parser = subparsers.add_parser("serve", parents=[common], help="run the gateway")
    parser.add_argument("--listen", metavar="HOST:PORT", help="instead of the configured address")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises ConfigurationError; 1 when it can't start for another reason."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    config = load(args.config, os.environ, {"server.listen": args.listen})
    try:
        with asyncio.Runner(loop_factory=server.loop_factory()) as runner:
            runner.run(server.run(config, _announce))
    except (StoreError, server.ListenError) as error:
        return fail(str(error), code=1)
    return 0


async def _announce(gateway: server.Gateway) -> None:
    """Say where it listens and, where there is no configuration file, how to start using it."""
    for address in gateway.addresses:
        _say(f"gateway listening on {address}")
    _say(f"admin listening on {gateway.admin_address}")
    for upstream in gateway.config.upstreams:
        if upstream.kind == "simulated":
            _say(f"upstream {upstream.name!r} is SIMULATED: answers are made up here, no model is asked")
        else:
            _say(f"upstream {upstream.name!r} is {upstream.base_url}")
    if gateway.config.path is None:
        await _introduce(gateway)


async def _introduce(gateway: server.Gateway) -> None:
    if gateway.config.upstreams[0].kind == "simulated":
        _say("(set GEMINI_API_KEY before starting, and Google AI Studio answers instead)")
    if await gateway.store.credentials(DEFAULT_PROJECT):
        _say("another credential: python -m gateway credentials create --branch main")
        return
    token = await _first_credential(gateway.store, gateway.config.branches.default)
    _say(f"credential (shown this once): {token}")
    _say("try it:")
    _say(
        f"curl {gateway.addresses[0]}/ai-gateway/gemini/v1beta/models/{_EXAMPLE_MODEL}:generateContent "
        f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
        """-d '{"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}'"""
    )


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


def _say(line: str) -> None:
    # Standard output belongs to the access log.
    print(line, file=sys.stderr, flush=True)
