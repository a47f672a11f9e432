"""`upstreams`: how the upstreams of the gateway that runs are, as it tells on its admin listener."""

from __future__ import annotations

import argparse
import math
import os
import socket
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException

import msgspec

from gateway.admin import schema
from gateway.cli import management
from gateway.config import Listen, load
from gateway.errors import ConfigurationError
from gateway.secrets import Secret

PATH = "/api/v2/upstreams"
SECONDS = 10.0
"""How long the gateway may take for its answer."""
_NUMBERS = ("PRIORITY", "IN FLIGHT", "REQUESTS", "ERRORS", "P50", "P95")
_HEADS = ("UPSTREAM", "KEY", "MODEL", "PRIORITY", "STATE", "CAUSE", "UNTIL", *_NUMBERS[1:])
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask what listens everywhere


class _NoAnswer(Exception):
    """One line that says why there is no answer."""


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser(
        "upstreams",
        parents=[common, management.options()],
        help="show how the upstreams of the running gateway are",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask the gateway of this configuration; 1 where it gives no answer. Raises ConfigurationError."""
    config = load(args.config, os.environ, serving=False)
    if config.admin.token is None:
        return management.fail(
            "admin.token is not set: without one a gateway tells nobody how its upstreams are", code=1
        )
    token = _read(config.admin.token)
    try:
        targets = _ask(config.server.admin_listen, token)
    except _NoAnswer as error:
        return management.fail(str(error), code=1)
    if args.json:
        management.print_json(msgspec.to_builtins(targets))
    elif targets:
        management.print_table(_HEADS, [_cells(target) for target in targets], numbers=_NUMBERS)
    else:
        print("no upstream was asked yet", file=sys.stderr)
    return 0


def _read(token: Secret) -> Secret:
    """The token, which `load` has left unread: of all secrets this command needs that one alone."""
    try:
        return Secret.parse(token.reference, os.environ)
    except ValueError as error:
        raise ConfigurationError(f"admin.token: {error}") from None


def _ask(listen: Listen, token: Secret) -> Sequence[schema.Target]:
    """Raises _NoAnswer."""
    if not (listen.path or listen.port):
        raise _NoAnswer(f"server.admin_listen is {listen}: which port a running gateway has is not known")
    connection = _Connection(listen)
    try:
        connection.request("GET", PATH, headers={"Authorization": f"Bearer {token.reveal()}"})
        response = connection.getresponse()
        content = response.read()
        if response.status == 200:
            return msgspec.json.decode(content, type=schema.TargetsAnswer).targets
    except OSError as error:
        reason = error.strerror or "it takes too long"
        raise _NoAnswer(f"no gateway answers on {listen}: {reason}") from None
    except (HTTPException, msgspec.DecodeError):
        raise _NoAnswer(f"what answers on {listen} is no gateway, or one of another version") from None
    finally:
        connection.close()
    if response.status == 401:
        raise _NoAnswer(f"the gateway on {listen} has another admin.token")
    raise _NoAnswer(f"what answers on {listen} does so with status {response.status}")


class _Connection(HTTPConnection):
    """To where a gateway of this machine listens."""

    def __init__(self, listen: Listen) -> None:
        super().__init__(_HERE.get(listen.host, listen.host) or "localhost", listen.port, timeout=SECONDS)
        self._path = listen.path

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


def _cells(target: schema.Target) -> Sequence[str]:
    return (
        target.upstream,
        target.key,
        target.model,
        str(target.priority),
        target.state,
        target.cause or "",
        management.when(math.ceil(target.until.timestamp())) if target.until else "",
        f"{target.in_flight:,}",
        f"{target.requests:,}",
        f"{target.error_share:.1%}",
        _seconds(target.first_byte_p50_seconds),
        _seconds(target.first_byte_p95_seconds),
    )


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.3f}s"
