"""`projects create | list`: what branches, credentials and limits belong to."""

from __future__ import annotations

import argparse

from gateway.cli import management
from gateway.stores import MAIN_BRANCH, Project, Store


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser("projects", help="make and list projects")
    actions = parser.add_subparsers(required=True, metavar="create|list")
    parents = [common, management.options()]
    create = actions.add_parser("create", parents=parents, help=f"make a project with a branch {MAIN_BRANCH}")
    create.add_argument("name", metavar="NAME")
    create.set_defaults(run=_create)
    actions.add_parser("list", parents=parents, help="list the projects").set_defaults(run=_list)


def _create(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        project = await store.create_project(args.name, actor=management.actor())
        if args.json:
            management.print_json(_shown(project))
        else:
            print(project.id)

    return management.with_store(args, action)


def _list(args: argparse.Namespace) -> int:
    async def action(store: Store) -> None:
        projects = await store.projects()
        if args.json:
            management.print_json([_shown(project) for project in projects])
        else:
            management.print_table(
                ("ID", "NAME", "CREATED"), [(p.id, p.name, management.when(p.created)) for p in projects]
            )

    return management.with_store(args, action)


def _shown(project: Project) -> dict[str, str]:
    return {"id": project.id, "name": project.name, "created": management.when(project.created)}
