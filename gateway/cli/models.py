"""`models`: the catalog as this configuration has it, as a table or as JSON."""

from __future__ import annotations

import argparse
import os
from typing import Any

from gateway.catalog import Model
from gateway.cli.management import print_json, print_table
from gateway.config import Config, load


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command."""
    parser = subparsers.add_parser("models", parents=[common], help="list the models of the catalog")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every model: what it is called, whether it is served here, and when it is shut down."""
    config = load(args.config, os.environ, serving=False)
    if args.json:
        print_json([_describe(model, config) for model in config.catalog.models])
        return 0
    rows = []
    for model in config.catalog.models:
        ends = ", ".join(f"{day} on {kind}" for kind, day in model.shutdown.items())
        rows.append((model.id, "yes" if _served(model, config) else "no", ends, ", ".join(model.aliases)))
    print_table(("MODEL", "SERVED HERE", "SHUTDOWN", "ALIASES"), rows)
    return 0


def _served(model: Model, config: Config) -> bool:
    return model.on_endpoint and any(upstream.serves(model.id) for upstream in config.upstreams)


def _describe(model: Model, config: Config) -> dict[str, Any]:
    return {
        "id": model.id,
        "provider": model.provider,
        "aliases": list(model.aliases),
        "served": _served(model, config),
        "upstream_names": dict(model.upstream_names),
        "shutdown": {kind: day.isoformat() for kind, day in model.shutdown.items()},
    }
