"""Where a gateway can listen: several addresses, IPv6, Unix sockets, TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.service.rig import DEADLINE, accepts, access_lines, ask, at_home, get, metric, port_of, request
from tests.service.test_start import TOKEN
from tests.support.eventually import eventually
from tests.support.machine import left_out, program
from tests.support.process import Process, clean_environment
from tests.support.tls import TestCertificates, make_certificates

LINE = r"^gateway listening on (\S+)$"


class Listening:
    """A gateway in an empty home with the simulated upstream, listening there."""

    def __init__(self, home: Path, *addresses: str, admin: str = "127.0.0.1:0", **settings: str) -> None:
        environment = at_home(
            home, SERVER__LISTEN=", ".join(addresses), SERVER__ADMIN_LISTEN=admin, **settings
        )
        self.process = Process(["serve"], environment)
        self.curl = self.process.wait_for_line(r"^curl .*")[0]
        said = self.process.log_lines()
        self.urls = [match[1] for line in said if (match := re.match(LINE, line))]
        self.admin_url = next(
            match[1] for line in said if (match := re.match(r"admin listening on (\S+)$", line))
        )
        self.token = next(match[0] for line in said if (match := TOKEN.search(line)))

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stop() == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def pasted(line: str) -> str:
    """The answer's model version when that line of curl is run by a shell."""
    program("curl")
    finished = subprocess.run(
        ["sh", "-c", line], env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return str(json.loads(finished.stdout)["modelVersion"])


def test_several_addresses_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with Listening(tmp_path, "127.0.0.1:0", f"unix:{path}", "localhost:0") as gateway:
        assert [url.rpartition(":")[0] for url in gateway.urls] == [
            "http://127.0.0.1",
            "http+unix",
            "http://localhost",
        ]
        assert [ask(url, gateway.token).status for url in gateway.urls] == [200] * 3
    assert [line["status"] for line in access_lines(gateway.process.log_lines())] == [200] * 3
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(str(path))


def test_ipv6(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        left_out("this machine has no IPv6 loopback address")
    with Listening(tmp_path, "[::1]:0", admin="[::1]:0") as gateway:
        assert gateway.urls[0].startswith("http://[::1]:")
        assert ask(gateway.urls[0], gateway.token).status == 200
        assert get(gateway.admin_url, "/readyz").status == 200
        assert pasted(gateway.curl).endswith("-simulated")


def test_unix_sockets(tmp_path: Path) -> None:
    """A name that a shell would take apart, and one that an earlier gateway left behind."""
    path, admin = tmp_path / "the gateway's.sock", tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with Listening(tmp_path, f"unix:{path}", admin=f"unix:{admin}") as gateway:
        assert ask(f"http+unix:{path}", gateway.token).status == 200
        assert get(gateway.admin_url, "/readyz").json == {"ready": True, "reason": "serving"}
        assert pasted(gateway.curl).endswith("-simulated")


def test_tls(tmp_path: Path, certificates: TestCertificates) -> None:
    files = certificates.server
    tls = {"SERVER__TLS_CERT": str(files.certificate), "SERVER__TLS_KEY": str(files.key)}
    context = certificates.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Listening(tmp_path, "127.0.0.1:0", **tls) as gateway:
        [url] = gateway.urls
        assert url.startswith("https://127.0.0.1:")
        assert ask(url, gateway.token, tls=context).status == 200
        with pytest.raises((ConnectionError, ssl.SSLError)):
            ask(url.replace("https:", "http:"), gateway.token)
        with (
            socket.create_connection(("127.0.0.1", port_of(url))) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.selected_alpn_protocol() == "http/1.1"
            assert (secured.version() or "") >= "TLSv1.2"
    assert [line["status"] for line in access_lines(gateway.process.log_lines())] == [200]


def test_a_worker_that_finds_no_certificate_when_it_is_started_anew_says_so(tmp_path: Path) -> None:
    files = make_certificates(tmp_path).server
    tls = {"SERVER__TLS_CERT": str(files.certificate), "SERVER__TLS_KEY": str(files.key)}
    with Listening(tmp_path, "127.0.0.1:0", SERVER__WORKERS="2", **tls) as gateway:
        [first, *_] = re.findall(r"worker 1 is process (\d+)", "\n".join(gateway.process.log_lines()))
        content = files.key.read_bytes()
        files.key.unlink()
        os.kill(int(first), signal.SIGKILL)
        gateway.process.wait_for_line("worker 1 ended with exit code 2; starting another in 0.5 s$")
        files.key.touch(mode=0o600)
        files.key.write_bytes(content)
    said = gateway.process.log_lines()
    why = f"server.tls_cert: {files.certificate} with {files.key}: No such file or directory"
    assert any(line.endswith(why) for line in said)
    assert not any("Traceback" in line for line in said)


def test_an_idle_tls_client_does_not_hold_up_the_end(tmp_path: Path, certificates: TestCertificates) -> None:
    """It has to answer the gateway's goodbye for a whole one, and does so only when it is used again."""
    files = certificates.server
    tls = {"SERVER__TLS_CERT": str(files.certificate), "SERVER__TLS_KEY": str(files.key)}
    with Listening(tmp_path, "127.0.0.1:0", **tls) as gateway:
        plain = socket.create_connection(("127.0.0.1", port_of(gateway.urls[0])))
        with certificates.client_context().wrap_socket(plain, server_hostname="localhost"):
            gateway.process.popen.terminate()
            assert gateway.process.wait(10.0) == 0


async def test_a_handshake_that_ends_in_the_drain_is_told(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    files = certificates.server
    tls = {"SERVER__TLS_CERT": str(files.certificate), "SERVER__TLS_KEY": str(files.key)}
    context = certificates.client_context()
    with Listening(tmp_path, "127.0.0.1:0", **tls) as gateway:
        address = ("127.0.0.1", port_of(gateway.urls[0]))
        early = socket.create_connection(address, timeout=DEADLINE)
        plain = socket.create_connection(address, timeout=DEADLINE)
        with context.wrap_socket(
            plain, server_hostname="localhost"
        ) as uploading:  # so `early` is accepted, too
            uploading.sendall(request(gateway.token, b"{}", action="generateContent")[:-1])
            await eventually(
                "the upload has begun", lambda: metric(gateway.admin_url, "gateway_open_requests") == 1
            )
            gateway.process.popen.terminate()
            await eventually("new connections are refused", lambda: not accepts(gateway.urls[0]))
            with context.wrap_socket(early, server_hostname="localhost") as late:
                answer = HTTPResponse(late)
                answer.begin()
                assert (answer.status, answer.getheader("x-gateway-error")) == (503, "DRAINING")
            uploading.sendall(b"}")
            answer = HTTPResponse(uploading)
            answer.begin()
            assert answer.status == 400, "from the simulated upstream: no contents"
