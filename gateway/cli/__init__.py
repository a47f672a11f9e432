"""The command line: one file for each command, each with an `add` that registers it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import __version__
from gateway.cli import (
    branches,
    check_config,
    credentials,
    limits,
    models,
    projects,
    serve,
    simulate,
    upstreams,
    usage,
    worker,
)
from gateway.cli.management import Parser, fail
from gateway.errors import ConfigurationError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0 done, 1 it failed, 2 the configuration or the call is wrong."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="the configuration, a TOML file")
    parser: argparse.ArgumentParser = Parser(
        prog="gateway",
        description="A gateway for Google's Gemini API.",
        epilog="Exit codes: 0 done; 1 refused or failed, such as when what is named is not there; 2 the "
        "call or the configuration is wrong. A line on standard error says why, and nothing is changed.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, check_config, branches, credentials, projects, limits, usage, models, upstreams):
        command.add(subparsers, common)
    simulate.add(subparsers)
    worker.add(subparsers)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except ConfigurationError as error:
        return fail(str(error), code=2)
    except BrokenPipeError:  # the reader of standard output has left, as `… | head` does
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
