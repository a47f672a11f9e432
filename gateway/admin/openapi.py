"""The OpenAPI 3.1 document of the admin API, made from its operations and their types. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.admin.operation import Operation
from gateway.admin.schema import CredentialId, Error, Name

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_PATH_PARAMETERS = {
    "project": ("Its id or its name.", Name),
    "branch": ("Its id or its name, a slash as `%2F`.", Name),
    "credential": ("Its id.", CredentialId),
}
_REFUSALS = {
    400: "Bad input",
    401: "No token, or a wrong one",
    403: "The API is off, or was asked under another name",
    404: "What the path or the body names is not there",
    409: "It goes against what is there",
    408: "The body did not come in time",
    413: "The body is too large",
    415: "The body is not announced as JSON",
    503: "The store gave no answer just now",
}


def document(operations: Sequence[Operation]) -> Json:
    """The document as plain JSON values."""
    kinds: list[type[Struct]] = [Error]
    for each in operations:
        kinds += [kind for kind in (each.query, each.body, each.answer) if kind and kind not in kinds]
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    contents = {
        kind: {"content": {"application/json": {"schema": reference}}}
        for kind, reference in zip(kinds, references, strict=True)
    }
    queries = {each.query: schemas[each.query.__name__] for each in operations}
    paths: defaultdict[str, Json] = defaultdict(dict)
    for each in operations:
        described: Json = {
            "operationId": each.id,
            "summary": each.summary,
            "parameters": [*_in_path(each.path), *_in_query(queries[each.query])],
            "responses": _responses(each, contents),
        }
        if each.body:
            described["requestBody"] = contents[each.body] | {"required": True}
        paths[each.path][each.method.lower()] = described
    for query in queries:
        del schemas[query.__name__]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gateway admin API", "version": __version__},
        "servers": [{"url": "/"}],
        "security": [{"admin_token": []}],
        "paths": dict(paths),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"admin_token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _in_path(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", path):
        text, kind = _PATH_PARAMETERS[name]
        schema = msgspec.json.schema(kind)
        yield {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _in_query(schema: Json) -> Iterator[Json]:
    for name, kind in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in schema["required"], "schema": kind}


def _responses(operation: Operation, contents: Mapping[type[Struct], Json]) -> Json:
    refusals = [400, 401, 403, 404, 503]
    if operation.conflicts:
        refusals.append(409)
    if operation.body:
        refusals += [408, 413, 415]
    done = contents[operation.answer] if operation.answer else {}
    return {str(operation.status): {"description": "Done"} | done} | {
        str(status): {"description": _REFUSALS[status]} | contents[Error] for status in sorted(refusals)
    }
