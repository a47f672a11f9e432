"""A start that has to fail: one clear line, the right exit code, nothing begun and nothing lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.rig import at_home, files_below, serve_to_its_end
from tests.service.test_start import TOKEN
from tests.support.gateway import SIMULATED
from tests.support.process import Process

DATABASE = ".local/state/gemini-gateway/gateway.db"
STORE = '[store]\nurl = "sqlite:///{}"\n'


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


WRONG = {
    "bad TOML": ("[server", "is not valid TOML"),
    "an unknown key": ("[server]\nlisen = 1\n", "server.lisen: unknown key"),
    "no upstream": ("", "upstreams: at least one upstream is needed"),
    "a missing secret": (
        '[[upstreams]]\nname = "s"\nkind = "ai-studio"\nkeys = ["env:NOBODY_SET_THIS"]\n',
        "NOBODY_SET_THIS",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_configuration(tmp_path: Path, mistake: str) -> None:
    text, told = WRONG[mistake]
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    ended = serve_to_its_end("--config", str(file), environment=at_home(tmp_path))
    assert ended.code == 2
    assert ended.error.startswith(f"error: {file}: ")
    assert told in ended.error
    assert files_below(tmp_path) == ["gateway.toml"]


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "gateway.example.com:0"])
def test_an_admin_listener_for_other_machines_needs_a_token(tmp_path: Path, address: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(STORE.format(tmp_path / "gateway.db") + SIMULATED)
    environment = at_home(tmp_path, SERVER__ADMIN_LISTEN=address)
    ended = serve_to_its_end("--config", str(file), environment=environment)
    assert ended.code == 2
    assert ended.error == (
        f"error: GATEWAY_SERVER__ADMIN_LISTEN: {address} is not on loopback, which needs admin.token"
    )
    assert files_below(tmp_path) == ["gateway.toml"]


def test_a_configuration_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    ended = serve_to_its_end("--config", str(file), environment=at_home(tmp_path))
    assert ended.code == 2
    assert ended.error == f"error: {file}: cannot be read: No such file or directory"
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "gateway.example.com:0"])
def test_other_machines_need_a_configuration(tmp_path: Path, address: str) -> None:
    ended = serve_to_its_end("--listen", address, environment=at_home(tmp_path))
    assert ended.code == 2
    assert ended.error == f"error: --listen: {address} is not on loopback, which needs a configuration file"
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("listener", ["LISTEN", "ADMIN_LISTEN"])
def test_a_port_in_use(tmp_path: Path, busy_port: int, listener: str) -> None:
    address = f"127.0.0.1:{busy_port}"
    ended = serve_to_its_end(environment=at_home(tmp_path, **{f"SERVER__{listener}": address}))
    assert ended.code == 1
    assert ended.error == f"error: cannot listen on {address}: address already in use"
    shared = {str(Path(DATABASE).with_name(name)) for name in ("counters", "cooldowns")}
    assert set(files_below(tmp_path)) <= {DATABASE, *shared}, "what every start makes, and nothing else"


def test_the_credential_of_a_first_start_that_failed_is_not_lost(tmp_path: Path, busy_port: int) -> None:
    taken = at_home(tmp_path, SERVER__LISTEN=f"127.0.0.1:{busy_port}")
    assert not TOKEN.search(serve_to_its_end(environment=taken).error)
    process = Process(["serve"], at_home(tmp_path))
    process.wait_for_line(r"^curl ")
    assert process.stop() == 0
    assert len(TOKEN.findall("\n".join(process.log_lines()))) == 2


def test_two_listeners_that_exclude_each_other(tmp_path: Path, busy_port: int) -> None:
    """Both may be bound: only listening shows it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    addresses = f"127.0.0.1:{port}, localhost:{port}"
    ended = serve_to_its_end(environment=at_home(tmp_path, SERVER__LISTEN=addresses))
    assert ended.code == 1
    assert ended.error == f"error: cannot listen on localhost:{port}: address already in use"


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(STORE.format(tmp_path / "gateway.db") + SIMULATED)
    ended = serve_to_its_end(
        "--config", str(file), environment=at_home(tmp_path, SERVER__LISTEN="192.0.2.1:8080")
    )
    assert ended.code == 1
    assert ended.error == "error: cannot listen on 192.0.2.1:8080: cannot assign requested address"


def test_a_unix_socket_on_which_somebody_listens_is_not_taken_from_them(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for name in ("SERVER__LISTEN", "SERVER__ADMIN_LISTEN"):
            ended = serve_to_its_end(environment=at_home(tmp_path, **{name: f"unix:{path}"}))
            assert ended.code == 1
            assert ended.error == f"error: cannot listen on unix:{path}: address already in use"
        with socket.socket(socket.AF_UNIX) as again:
            again.connect(str(path))


def test_a_unix_socket_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/nowhere/gateway.sock"
    ended = serve_to_its_end(environment=at_home(tmp_path, SERVER__LISTEN=address))
    assert ended.code == 1
    assert ended.error == f"error: cannot listen on {address}: no such file or directory"


def test_what_is_worth_a_warning_does_not_hide_the_error(tmp_path: Path, busy_port: int) -> None:
    environment = at_home(tmp_path, SERVER__LISTEN=f"127.0.0.1:{busy_port}") | {"GEMINI_API_KEY": "unused"}
    assert "address already in use" in serve_to_its_end(environment=environment).error


def test_a_default_branch_that_does_not_exist(tmp_path: Path) -> None:
    ended = serve_to_its_end(environment=at_home(tmp_path, BRANCHES__DEFAULT="absent"))
    assert ended.code == 2
    assert ended.error == 'error: branches.default: project "default" has no branch "absent"'
