"""Google's places that give out access tokens, over real sockets, and the files that say who asks there."""

from __future__ import annotations

import json
import ssl
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, response, wait_for
from tests.support.upstream_request import UpstreamRequest

ACCOUNT = "gateway@project.iam.gserviceaccount.com"
_AUDIENCE = "https://oauth2.googleapis.com/token"  # wherever the file sends
SUBJECT_TOKEN = "planted-subject-token-Rk3xVq7Zt1Wm9LpB5yHc"
JSON = [("Content-Type", "application/json")]
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class TokenEndpoint(RawUpstream):
    """A token endpoint, a workload identity's exchange and a metadata server: each gives tokens to whoever
    asks as Google wants to be asked, and 400 to others.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.issued: list[str] = []
        """Every token, in order."""
        self.life: object = 3600
        """What is said of how long the next one is good for."""
        self.scopes: list[str] = []
        """What each was asked for."""
        self.works()

    @property
    def token_uri(self) -> str:
        """What a service account's file names."""
        return f"{self.url}/token"

    def works(self) -> None:
        """Give tokens from now on."""
        self.answer_always(self._answer)

    def refuses(self, error: str = "invalid_grant", description: str = "Invalid JWT Signature.") -> None:
        """Refuse everyone from now on."""
        body = json.dumps({"error": error, "error_description": description}).encode()
        self.answer_always(response(400, JSON, body))

    def answers(self, body: bytes, status: int = 200) -> None:
        """Answer with that from now on."""
        self.answer_always(response(status, JSON, body))

    def stalls(self, event: str) -> None:
        """Give no answer from now on until the test sets the event, then good ones."""
        self.answer_always(lambda request: [wait_for(event), *self._answer(request)])

    def _answer(self, request: UpstreamRequest) -> Script:
        url = urlsplit(request.target)
        asked = parse_qs(url.query or request.body.decode())
        if url.path == "/token":
            scope = self._of_service_account(asked)
        elif url.path == "/exchange":
            scope = asked["scope"][0] if asked.get("subject_token") == [SUBJECT_TOKEN] else ""
        elif request.header("metadata-flavor") != ["Google"]:
            scope = ""
        elif url.path.endswith("/token"):
            scope = asked["scopes"][0]
        else:
            return response(200, JSON, json.dumps({"email": ACCOUNT, "scopes": []}).encode())
        if not scope:
            return response(400, JSON, b'{"error": "invalid_request"}')
        self.issued.append(f"ya29.token-number-{len(self.issued)}-xJ5kWq8Rb2TzLm6Vd4Hs")
        self.scopes.append(scope)
        token = {"access_token": self.issued[-1], "expires_in": self.life, "token_type": "Bearer"}
        return response(200, JSON, json.dumps(token).encode())

    def _of_service_account(self, asked: dict[str, list[str]]) -> str:
        assertion = asked["assertion"][0]
        claims: dict[str, Any] = jwt.decode(assertion, certs=_key()[1], audience=_AUDIENCE)
        good = asked["grant_type"] == [_JWT_BEARER] and claims["iss"] == ACCOUNT
        return str(claims["scope"]) if good else ""


def service_account(path: Path, token_uri: str, **changes: object) -> str:
    """Write a service account's file, with a key of this run; what a configuration refers to it with."""
    info = {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key": private_key(),
        "private_key_id": "1",
        "token_uri": token_uri,
    } | changes
    path.write_text(json.dumps({name: value for name, value in info.items() if value is not None}))
    path.chmod(0o600)
    return f"file:{path}"


def workload_identity(path: Path, endpoint: TokenEndpoint, **changes: object) -> str:
    """Write a workload identity's file, and its subject token's beside it; what refers to the first."""
    subject = path.with_suffix(".subject")
    subject.write_text(SUBJECT_TOKEN)
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{endpoint.url}/exchange",
        "credential_source": {"file": str(subject)},
    } | changes
    path.write_text(json.dumps(info))
    path.chmod(0o600)
    return f"file:{path}"


def private_key() -> str:
    """The service account's, in PEM form."""
    return _key()[0]


@cache
def _key() -> tuple[str, bytes]:
    """A private and its public key: making one takes a tenth of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public
