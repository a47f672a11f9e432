"""The admin listener: what an operator and a monitor ask, and the API that manages the store.

`app` serves it, `guard` lets in, `operation` turns requests into calls of what `branches`, `limits` and
`usage` offer, `schema` has the forms, `openapi` describes them, `refusals` tells why not.
"""

from __future__ import annotations

from gateway.admin.app import create_admin_app, serve_admin

__all__ = ["create_admin_app", "serve_admin"]
