"""`credentials create | list | revoke`: the tokens that clients present."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping

from gateway import durations, tokens
from gateway.cli import management
from gateway.errors import printable
from gateway.identity import SCOPE
from gateway.stores import Credential, PrincipalType, Store

_LONGEST_DAYS = 36500
_PUBLIC_ID = re.compile(r"[a-z0-9]{16}")


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser("credentials", help="make, list and revoke credentials")
    actions = parser.add_subparsers(required=True, metavar="create|list|revoke")
    parents = [common, management.options()]
    in_project = [*parents, management.project_option()]
    create = actions.add_parser(
        "create", parents=in_project, help="make a credential and print its token once"
    )
    create.add_argument("--branch", required=True, metavar="BRANCH", help="id or name; its anchor")
    create.add_argument(
        "--scope", action="extend", nargs="+", metavar="SCOPE", help=f"fixed for life (default: {SCOPE})"
    )
    create.add_argument("--name", default="", help="free text, to tell it from others")
    create.add_argument(
        "--principal-type",
        choices=[kind.value for kind in PrincipalType],
        default=PrincipalType.SERVICE.value,
        help="whom it stands for (default: %(default)s)",
    )
    create.add_argument("--expires", metavar="30d", help="after so many s, m, h, d or w (default: never)")
    create.set_defaults(run=_create)
    actions.add_parser("list", parents=in_project, help="list a project's credentials").set_defaults(
        run=_list
    )
    revoke = actions.add_parser(
        "revoke", parents=parents, help="make a credential worthless, at once and for good"
    )
    revoke.add_argument("id", metavar="ID", help="the public id, 16 characters")
    revoke.add_argument("--now", action="store_true", help="cut its streams under way, too")
    revoke.set_defaults(run=_revoke)


def _create(args: argparse.Namespace) -> int:
    try:
        lifetime = None if args.expires is None else _seconds(args.expires)
    except ValueError as error:
        return management.fail(str(error), code=2)

    async def action(store: Store) -> None:
        token = tokens.new_token()
        credential = await store.create_credential(
            args.project,
            args.branch,
            credential_id=tokens.token_id(token),
            token_hash=tokens.hash_token(token),
            name=args.name,
            principal_type=PrincipalType(args.principal_type),
            scopes=args.scope or [SCOPE],
            lifetime=lifetime,
            actor=management.actor(),
        )
        if args.json:
            branches = {branch.id: branch.name for branch in await store.branches(credential.project_id)}
            management.print_json(_shown(credential, branches) | {"api_token": token})
            return
        print(token)
        until = (
            "until it is revoked"
            if credential.expires is None
            else f"to {management.when(credential.expires)}"
        )
        print(f"credential {credential.id}, good {until}; the token is shown this once", file=sys.stderr)

    return management.with_store(args, action)


def _list(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        branches = {branch.id: branch.name for branch in await store.branches(args.project)}
        credentials = await store.credentials(args.project)
        if args.json:
            management.print_json([_shown(credential, branches) for credential in credentials])
            return
        now = time.time()
        management.print_table(
            ("ID", "NAME", "BRANCH", "TYPE", "SCOPES", "CREATED", "STATE"),
            [
                (
                    c.id,
                    c.name,
                    branches.get(c.branch_id, c.branch_id),
                    c.principal_type,
                    ",".join(c.scopes),
                    management.when(c.created),
                    _state(c, now),
                )
                for c in credentials
            ],
        )

    return management.with_store(args, action)


def _revoke(args: argparse.Namespace) -> int:
    # Not quoted: somebody may have given the whole token.
    if not _PUBLIC_ID.fullmatch(args.id):
        return management.fail("not the id of a credential (16 lower-case letters and digits)", code=2)

    async def action(store: Store) -> None:
        credential = await store.revoke_credential(args.id, cut=args.now, actor=management.actor())
        revoked = management.when(credential.revoked or 0)
        if args.json:
            management.print_json({"id": credential.id, "revoked": revoked})
        else:
            print(f"credential {credential.id} is revoked since {revoked}", file=sys.stderr)

    return management.with_store(args, action)


def _seconds(lifetime: str) -> int:
    seconds = durations.seconds(lifetime)
    if seconds is None or seconds > _LONGEST_DAYS * 86400:
        raise ValueError(
            f'--expires "{printable(lifetime)}": a number with s, m, h, d or w, such as 30d; '
            f"at most {_LONGEST_DAYS}d"
        )
    return seconds


def _state(credential: Credential, now: float) -> str:
    if credential.revoked is not None:
        return f"revoked {management.when(credential.revoked)}"
    if credential.expires is None:
        return "good"
    return f"{'expired' if credential.expires <= now else 'good to'} {management.when(credential.expires)}"


def _shown(credential: Credential, branches: Mapping[str, str]) -> dict[str, object]:
    """As JSON. `branches` are the names of the project's branches by id; a deleted one has none."""

    def time_or_none(seconds: int | None) -> str | None:
        return None if seconds is None else management.when(seconds)

    return {
        "id": credential.id,
        "name": credential.name,
        "project_id": credential.project_id,
        "branch_id": credential.branch_id,
        "branch": branches.get(credential.branch_id),
        "principal_type": credential.principal_type,
        "scopes": list(credential.scopes),
        "created": management.when(credential.created),
        "expires": time_or_none(credential.expires),
        "revoked": time_or_none(credential.revoked),
    }
