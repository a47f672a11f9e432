"""Throwaway certificates for TLS on 127.0.0.1, made anew for each run."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a server: the chain of certificates and the private key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A server's context with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class TestCertificates:
    """A private CA, and servers that it vouches for."""

    __test__ = False  # a class for tests, not of tests

    ca_file: Path
    """What a client has to trust (PEM)."""
    server: CertificateFiles
    """For `localhost` and 127.0.0.1."""
    wrong_name: CertificateFiles
    """By the same CA for another host only."""
    expired: CertificateFiles
    """By the same CA for the server's names, until yesterday."""
    not_yet_valid: CertificateFiles
    """By the same CA for the server's names, from tomorrow."""

    def client_context(self) -> ssl.SSLContext:
        """A client's context that trusts this CA alone and checks names."""
        return ssl.create_default_context(cafile=self.ca_file)


def make_certificates(directory: Path) -> TestCertificates:
    """Makes a CA and the servers' certificates, and writes them into an existing directory."""
    ca = trustme.CA()
    ca_file = directory / "ca.pem"
    ca.cert_pem.write_to_path(ca_file)
    names, now, day = ("localhost", "127.0.0.1"), datetime.now(UTC), timedelta(days=1)
    return TestCertificates(
        ca_file,
        _issue(ca, directory, "server", *names),
        _issue(ca, directory, "wrong-name", "elsewhere.example"),
        _issue(ca, directory, "expired", *names, not_before=now - 2 * day, not_after=now - day),
        _issue(ca, directory, "not-yet-valid", *names, not_before=now + day, not_after=now + 2 * day),
    )


def _issue(
    ca: trustme.CA,
    directory: Path,
    file_name: str,
    *names: str,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> CertificateFiles:
    files = CertificateFiles(directory / f"{file_name}.pem", directory / f"{file_name}.key")
    issued = ca.issue_cert(*names, not_before=not_before, not_after=not_after)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(files.certificate, append=True)
    issued.private_key_pem.write_to_path(files.key)
    return files
