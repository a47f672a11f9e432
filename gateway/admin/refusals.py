"""What the admin listener refuses: one JSON object, a code for programs and a message for people."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from gateway.admin.schema import Error
from gateway.errors import StoreConflict, StoreError, StoreNotFound, StoreUnavailable, described

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is answered with a reason. The message quotes nothing that could be a secret."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


@web.middleware
async def tell_why(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong below into an answer; a fault of ours into one that tells nothing."""
    try:
        return await handler(request)
    except Refused as refused:
        return _answer(refused)
    except web.HTTPException as error:  # aiohttp's own: no such path, another method
        code = HTTPStatus(error.status).phrase.upper().replace(" ", "_")
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _answer(Refused(error.status, code, error.reason.lower(), allow))
    except StoreUnavailable as error:
        return _answer(Refused(503, "STORE_UNAVAILABLE", str(error), {"Retry-After": "1"}))
    except StoreNotFound as error:
        return _answer(Refused(404, "NOT_FOUND", str(error)))
    except StoreConflict as error:
        return _answer(Refused(409, "CONFLICT", str(error)))
    except StoreError as error:
        return _answer(Refused(400, "BAD_REQUEST", str(error)))
    except Exception as error:
        _log.error("%s %s: %s", request.method, _resource(request), described(error))
        return _answer(Refused(500, "INTERNAL", "internal error"))


def _answer(refused: Refused) -> web.Response:
    return web.Response(
        status=refused.status,
        headers=refused.headers,
        body=msgspec.json.encode(Error(refused.code, str(refused))),
        content_type="application/json",
    )


def _resource(request: web.Request) -> str:
    """The path as the API describes it: what stands in its place may be anything."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown path"
