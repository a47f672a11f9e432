"""`branches create | list | delete`: what credentials are anchored to and hosts name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gateway.cli import management
from gateway.stores import Branch, Store


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser("branches", help="make, list and delete branches")
    actions = parser.add_subparsers(required=True, metavar="create|list|delete")
    parents = [common, management.options(), management.project_option()]
    create = actions.add_parser("create", parents=parents, help="make a branch and print its id")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--parent", metavar="BRANCH", help="id or name; without it the branch is a root")
    create.set_defaults(run=_create)
    actions.add_parser("list", parents=parents, help="list a project's branches").set_defaults(run=_list)
    delete = actions.add_parser(
        "delete", parents=parents, help="delete a branch without children and revoke its credentials"
    )
    delete.add_argument("branch", metavar="BRANCH", help="id or name")
    delete.set_defaults(run=_delete)


def _create(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        branch = await store.create_branch(args.project, args.name, args.parent, actor=management.actor())
        if args.json:
            management.print_json(_shown(branch, await store.branches(branch.project_id)))
        else:
            print(branch.id)
            print(f"made branch {branch.name}; its hosts begin with {_host_label(branch)}", file=sys.stderr)

    return management.with_store(args, action)


def _list(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        branches = await store.branches(args.project)
        shown = [_shown(branch, branches) for branch in branches]
        if args.json:
            management.print_json(shown)
        else:
            rows = [[str(row[key] or "") for key in ("id", "name", "parent", "created")] for row in shown]
            management.print_table(("ID", "NAME", "PARENT", "CREATED"), rows)

    return management.with_store(args, action)


def _delete(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        branch = await store.delete_branch(args.project, args.branch, actor=management.actor())
        if args.json:
            management.print_json({"id": branch.id, "name": branch.name, "deleted": True})
        else:
            print(f"deleted branch {branch.name} ({branch.id}); its credentials are revoked", file=sys.stderr)

    return management.with_store(args, action)


def _shown(branch: Branch, among: Sequence[Branch]) -> dict[str, str | None]:
    return {
        "id": branch.id,
        "name": branch.name,
        "project_id": branch.project_id,
        "parent_id": branch.parent_id,
        "parent": next((other.name for other in among if other.id == branch.parent_id), None),
        "host_label": _host_label(branch),
        "created": management.when(branch.created),
    }


def _host_label(branch: Branch) -> str:
    return f"{branch.id}-api"
