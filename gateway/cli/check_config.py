"""`check-config`: read the configuration as `serve` would, and say what it amounts to, without a secret."""

from __future__ import annotations

import argparse
import os
from datetime import date
from typing import Any

from gateway.cli.management import print_json
from gateway.config import Config, Upstream, load


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command."""
    parser = subparsers.add_parser("check-config", parents=[common], help="check the configuration")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print `ok` and a summary. Raises ConfigurationError, which the command line turns into exit 2."""
    config = load(args.config, os.environ)
    if args.json:
        print_json(_summary(config))
        return 0
    print("ok")
    print(f"file      {config.path or 'none: the built-in configuration'}")
    print(f"listen    {', '.join(config.server.listen)}{' (TLS)' if config.server.tls_cert else ''}")
    print(f"admin     {config.server.admin_listen}")
    print(f"store     {config.store.url}")
    for upstream in config.upstreams:
        keys = ", ".join(_references(upstream))
        where = f" at {upstream.base_url} with {keys}" if keys else ""
        if upstream.project:
            where += f", project {upstream.project}, location {upstream.location}"
        print(f"upstream  {upstream.name}: {upstream.kind}{where}, models {', '.join(upstream.models)}")
    for warning in config.notices(date.today()):
        print(f"warning   {warning}")
    return 0


def _references(upstream: Upstream) -> list[str]:
    """To what it is asked with."""
    return [secret.reference for secret in (*upstream.keys, upstream.credentials) if secret]


def _summary(config: Config) -> dict[str, Any]:
    return {
        "ok": True,
        "file": str(config.path) if config.path else None,
        "listen": list(config.server.listen),
        "admin_listen": config.server.admin_listen,
        "store": config.store.url,
        "upstreams": [
            {
                "name": upstream.name,
                "kind": upstream.kind,
                "base_url": upstream.base_url or None,
                "keys": _references(upstream),
                "project": upstream.project or None,
                "location": upstream.location if upstream.project else None,
                "models": list(upstream.models),
            }
            for upstream in config.upstreams
        ],
        "warnings": config.notices(date.today()),
    }
