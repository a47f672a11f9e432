"""The operations on branches and on the credentials anchored to them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from gateway import stores, tokens
from gateway.admin import schema
from gateway.admin.operation import ACTOR, PROJECT, Call, Operation
from gateway.admin.schema import NoQuery, RevokeQuery
from gateway.errors import StoreNotFound, printable
from gateway.stores import MAIN_BRANCH

_BRANCHES = PROJECT + "/branches"
BRANCH = _BRANCHES + "/{branch}"
_CREDENTIALS = BRANCH + "/credentials"
CREDENTIAL = _CREDENTIALS + "/{credential}"


async def find_credential(call: Call[Any, Any]) -> stores.Credential:
    """What the path of the call names. Raises StoreNotFound."""
    anchor = await _find_branch(call)
    named = call.path["credential"]
    found = await call.store.credential(named)
    if found is None or found.branch_id != anchor.id:
        raise StoreNotFound(f'no credential "{printable(named)}" on branch "{anchor.name}"')
    return found


async def _find_branch(call: Call[Any, Any]) -> stores.Branch:
    project, named = call.path["project"], call.path["branch"]
    for found in await call.store.branches(project):
        if named in (found.id, found.name):
            return found
    raise StoreNotFound(f'no branch "{printable(named)}" in project "{printable(project)}"')


async def _create_branch(call: Call[NoQuery, schema.CreateBranch]) -> schema.BranchAnswer:
    wanted = call.body.branch
    parent = MAIN_BRANCH if wanted.parent_id is UNSET else wanted.parent_id
    made = await call.store.create_branch(call.path["project"], wanted.name, parent, actor=ACTOR)
    return schema.BranchAnswer(branch=_branch(made))


async def _list_branches(call: Call[NoQuery, None]) -> schema.BranchesAnswer:
    found = await call.store.branches(call.path["project"])
    return schema.BranchesAnswer(branches=[_branch(branch) for branch in found])


async def _delete_branch(call: Call[NoQuery, None]) -> schema.BranchAnswer:
    deleted = await call.store.delete_branch(call.path["project"], call.path["branch"], actor=ACTOR)
    return schema.BranchAnswer(branch=_branch(deleted))


async def _create_credential(call: Call[NoQuery, schema.CreateCredential]) -> schema.CreatedCredential:
    wanted, token = call.body, tokens.new_token()
    made = await call.store.create_credential(
        call.path["project"],
        call.path["branch"],
        credential_id=tokens.token_id(token),
        token_hash=tokens.hash_token(token),
        name=wanted.name,
        principal_type=wanted.principal_type,
        scopes=wanted.scopes,
        lifetime=wanted.expires_in_seconds,
        actor=ACTOR,
    )
    return schema.CreatedCredential(**_credential_fields(made), api_token=token)


async def _list_credentials(call: Call[NoQuery, None]) -> schema.CredentialsAnswer:
    anchor = await _find_branch(call)
    return schema.CredentialsAnswer(
        credentials=[
            schema.Credential(**_credential_fields(credential))
            for credential in await call.store.credentials(anchor.project_id)
            if credential.branch_id == anchor.id
        ]
    )


async def _revoke_credential(call: Call[RevokeQuery, None]) -> None:
    credential = await find_credential(call)
    await call.store.revoke_credential(credential.id, cut=call.query.now, actor=ACTOR)


def _branch(branch: stores.Branch) -> schema.Branch:
    return schema.Branch(
        id=branch.id,
        project_id=branch.project_id,
        parent_id=branch.parent_id,
        name=branch.name,
        host_label=f"{branch.id}-api",
        created_at=schema.at(branch.created),
    )


def _credential_fields(credential: stores.Credential) -> dict[str, Any]:
    return {
        "id": credential.id,
        "token_id": credential.id,
        "project_id": credential.project_id,
        "branch_id": credential.branch_id,
        "name": credential.name,
        "principal_type": credential.principal_type,
        "scopes": list(credential.scopes),
        "created_at": schema.at(credential.created),
        "expires_at": None if credential.expires is None else schema.at(credential.expires),
        "revoked_at": None if credential.revoked is None else schema.at(credential.revoked),
    }


OPERATIONS = (
    Operation(
        id="createProjectBranch",
        summary="Make a branch",
        method="POST",
        path=_BRANCHES,
        run=_create_branch,
        body=schema.CreateBranch,
        answer=schema.BranchAnswer,
        status=201,
        conflicts=True,
    ),
    Operation(
        id="listProjectBranches",
        summary="List a project's branches",
        method="GET",
        path=_BRANCHES,
        run=_list_branches,
        answer=schema.BranchesAnswer,
    ),
    Operation(
        id="deleteProjectBranch",
        summary="Delete a branch without children and revoke its credentials",
        method="DELETE",
        path=BRANCH,
        run=_delete_branch,
        answer=schema.BranchAnswer,
        conflicts=True,
    ),
    Operation(
        id="createCredential",
        summary="Make a credential; its token is shown this once",
        method="POST",
        path=_CREDENTIALS,
        run=_create_credential,
        body=schema.CreateCredential,
        answer=schema.CreatedCredential,
        status=201,
    ),
    Operation(
        id="listCredentials",
        summary="List a branch's credentials, revoked and expired ones included",
        method="GET",
        path=_CREDENTIALS,
        run=_list_credentials,
        answer=schema.CredentialsAnswer,
    ),
    Operation(
        id="revokeCredential",
        summary="Make a credential worthless, for good; again changes nothing",
        method="DELETE",
        path=CREDENTIAL,
        run=_revoke_credential,
        query=RevokeQuery,
        status=204,
    ),
)
