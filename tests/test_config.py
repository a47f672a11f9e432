"""A good configuration: from a file, from nothing, from the environment and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, Network, load
from gateway.config.values import Listen
from gateway.token_usage import Usage

HOME = {"HOME": "/home/operator"}
SIMULATED = '[[upstreams]]\nname = "s"\nkind = "simulated"\n'


def loaded(
    tmp_path: Path,
    text: str,
    environ: dict[str, str] | None = None,
    overrides: dict[str, object] | None = None,
) -> Config:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    return load(file, HOME | (environ or {}), overrides)


def test_without_a_file_and_a_key_answers_are_simulated() -> None:
    config = load(None, HOME)
    assert config.path is None
    assert config.server.listen == ("127.0.0.1:8080",)
    assert config.server.admin_listen == "127.0.0.1:8081"
    assert config.store.url.path == Path("/home/operator/.local/state/gemini-gateway/gateway.db")
    assert [(upstream.name, upstream.kind) for upstream in config.upstreams] == [("simulated", "simulated")]
    assert config.warnings == ()
    assert config.catalog.resolve("gemini-2.5-flash").id == "gemini-2-5-flash"


def test_without_a_file_a_key_of_google_leads_to_google() -> None:
    (upstream,) = load(None, HOME | {"GEMINI_API_KEY": "AQ.key"}).upstreams
    assert (upstream.name, upstream.kind) == ("ai-studio", "ai-studio")
    assert upstream.base_url == "https://generativelanguage.googleapis.com"
    assert [key.reveal() for key in upstream.keys] == ["AQ.key"]


def test_an_empty_key_is_no_key() -> None:
    assert load(None, HOME | {"GEMINI_API_KEY": ""}).upstreams[0].kind == "simulated"


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"XDG_STATE_HOME": "/state"}, "/state/gemini-gateway/gateway.db"),
        ({"XDG_STATE_HOME": "relative"}, "/home/operator/.local/state/gemini-gateway/gateway.db"),
        ({"XDG_STATE_HOME": "/state", "HOME": ""}, "/state/gemini-gateway/gateway.db"),
        ({"GATEWAY_STORE__URL": "sqlite:///here/x.db"}, "here/x.db"),
    ],
)
def test_where_the_store_is(environ: dict[str, str], path: str) -> None:
    assert load(None, HOME | environ).store.url.path == Path(path)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/service"}, "/home/operator/.local/state/gemini-gateway"),
        ({"GATEWAY_STORE__URL": "sqlite:////var/lib/g/x.db", "STATE_DIRECTORY": "/service"}, "/var/lib/g"),
        ({"GATEWAY_STORE__URL": "sqlite:///x.db"}, "."),
        ({"GATEWAY_STORE__URL": "postgresql://h/d"}, "/home/operator/.local/state/gemini-gateway"),
        ({"GATEWAY_STORE__URL": "postgresql://h/d", "STATE_DIRECTORY": "/service:/other"}, "/service"),
        ({"GATEWAY_STORE__URL": "postgresql://h/d", "GATEWAY_STORE__STATE_DIR": "here"}, "here"),
    ],
)
def test_where_this_machine_keeps_its_own(environ: dict[str, str], path: str) -> None:
    assert load(None, HOME | environ).store.state_dir == Path(path)


def test_every_command_reads_the_password_of_the_store_and_no_other_secret() -> None:
    environ = HOME | {
        "GATEWAY_STORE__URL": "postgresql://gateway@db.example:5432/gateway?sslmode=verify-full",
        "GATEWAY_STORE__PASSWORD": "env:PASSWORD",
        "GATEWAY_ADMIN__TOKEN": "env:NOT_SET",
        "PASSWORD": "hunter2",
    }
    store = load(None, environ, serving=False).store
    assert store.password is not None
    assert store.password.reveal() == "hunter2"
    assert not store.url.is_sqlite
    assert "hunter2" not in repr(store)


def test_every_section_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "unit").write_text("from-systemd\r\n")
    config = loaded(
        tmp_path,
        f"""
        [server]
        listen = ["0.0.0.0:8080", "[::]:8443", "unix:/run/gateway.sock", "gateway.example:0"]
        admin_listen = "unix:/run/admin.sock"
        max_body_bytes = 1
        drain_delay_seconds = 5
        trusted_proxies = ["10.0.0.0/8", "fd00::1"]
        forward_request_headers = ["X-Trace", "traceparent"]
        [admin]
        token = "env:KEY"
        hosts = ["Gateway.internal", "gateway"]
        [store]
        url = "sqlite:////var/lib/gateway/gateway.db"
        [branches]
        default = "production"
        trusted_suffixes = [".AI.example.com"]
        [catalog]
        allow = ["gemini-*"]
        remove = ["gemini-3-pro"]
        [catalog.models.gemini-2-5-pro]
        upstream_names = {{ gateway = "databricks-gemini-2-5-pro" }}
        [prices.models.gemini-2-5-pro]
        versions = ["house-pro"]
        rates = [
            {{ input = 1, cached = 0.5, output = 2.25 }},
            {{ since = 2030-01-01, tier = "flex", over = 0, input = 0.5, audio = 2, output = 1 }},
        ]
        [timeouts]
        connect = 1
        total = 86400
        [[upstreams]]
        name = "studio"
        kind = "ai-studio"
        keys = ["env:KEY", "file:{tmp_path}/key", "credential:unit"]
        models = ["gemini-3-*"]
        [[upstreams]]
        name = "neon"
        kind = "gateway"
        base_url = "https://br-winter-pond-a1b2c3d4-api.example.com:8443/prefix/"
        keys = ["env:KEY"]
        priority = 2
        [[upstreams]]
        name = "simulated"
        kind = "simulated"
        pace = 2.5
        """,
        {"KEY": "from-environment", "CREDENTIALS_DIRECTORY": str(tmp_path)},
    )
    server = config.server
    assert [(listen.host, listen.port, listen.path) for listen in server.listen] == [
        ("0.0.0.0", 8080, ""),
        ("::", 8443, ""),
        ("", 0, "/run/gateway.sock"),
        ("gateway.example", 0, ""),
    ]
    assert server.admin_listen.path == "/run/admin.sock"
    assert (server.max_body_bytes, server.max_connections) == (1, 20000)
    assert (server.drain_delay_seconds, server.drain_seconds) == (5.0, 60.0)
    assert server.forward_request_headers == ("x-trace", "traceparent")
    assert config.admin.token is not None
    assert config.admin.token.reveal() == "from-environment"
    assert config.admin.hosts == ("gateway.internal", "gateway")
    assert config.store.url.path == Path("/var/lib/gateway/gateway.db")
    assert config.branches.default == "production"
    assert config.branches.trusted_suffixes == (".ai.example.com",)
    assert config.catalog.resolve("gemini-99").id == "gemini-99"
    assert config.catalog.resolve("gemini-2.5-pro").upstream_name("gateway") == "databricks-gemini-2-5-pro"
    assert config.prices.cost("", "house-pro", 0, Usage(prompt=2, cached=1, candidates=1)) == (3_750, ())
    assert config.prices.cost("gemini-2-5-flash", "", 0, Usage(prompt=1)) == (300, ())
    assert (config.timeouts.connect, config.timeouts.idle, config.timeouts.total) == (1.0, 300.0, 86400.0)
    studio, neon, simulated = config.upstreams
    assert [key.reveal() for key in studio.keys] == ["from-environment", "from-file", "from-systemd"]
    assert studio.serves("gemini-3-pro")
    assert not studio.serves("gemini-2-5-pro")
    assert neon.base_url == "https://br-winter-pond-a1b2c3d4-api.example.com:8443/prefix"
    assert neon.priority == 2
    assert neon.serves("gemini-2-5-pro")
    assert simulated.pace == 2.5


@pytest.mark.parametrize("address", ["0.0.0.0:8081", "[::]:8081", "gateway.example:8081"])
def test_a_token_lets_the_admin_listener_leave_loopback(tmp_path: Path, address: str) -> None:
    text = f"[server]\nadmin_listen = '{address}'\n[admin]\ntoken = 'env:TOKEN'\n{SIMULATED}"
    assert loaded(tmp_path, text, {"TOKEN": "secret"}).server.admin_listen == address


def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    text = "[server]\nlisten = '127.0.0.1:1'\nmax_connections = 1\ndrain_seconds = 1\n" + SIMULATED
    environ = {"GATEWAY_SERVER__LISTEN": "127.0.0.1:2", "GATEWAY_SERVER__MAX_CONNECTIONS": "2"}
    server = loaded(
        tmp_path, text, environ, {"server.listen": "127.0.0.1:3", "server.drain_seconds": None}
    ).server
    assert (server.listen, server.max_connections, server.drain_seconds) == (("127.0.0.1:3",), 2, 1.0)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:1", ("127.0.0.1:1",)),
        (" 127.0.0.1:1 , [::1]:2,", ("127.0.0.1:1", "[::1]:2")),
        ("[::1]:2,unix:/a", ("[::1]:2", "unix:/a")),
        ('["127.0.0.1:1", "unix:/with,comma"]', ("127.0.0.1:1", "unix:/with,comma")),
        ("", ("127.0.0.1:8080",)),
    ],
)
def test_lists_in_the_environment(text: str, listen: tuple[str, ...]) -> None:
    assert load(None, HOME | {"GATEWAY_SERVER__LISTEN": text}).server.listen == listen


def test_the_environment_reaches_every_kind_of_key() -> None:
    config = load(
        None,
        HOME
        | {
            "GATEWAY_TIMEOUTS__IDLE": "7",
            "GATEWAY_TIMEOUTS__WRITE": "1.5",
            "GATEWAY_BRANCHES__TRUSTED_SUFFIXES": ".a.example,.b.example",
            "GATEWAY_CATALOG__ALLOW": "[]",
            "GATEWAY_CATALOG__MODELS": '{gemini-9 = {aliases = ["nine"]}}',
            "GATEWAY_UPSTREAMS__0__PACE": "3",
            **{f"GATEWAY_UPSTREAMS__{index}__NAME": f"u{index}" for index in range(1, 12)},
            **{f"GATEWAY_UPSTREAMS__{index}__KIND": "ai-studio" for index in range(1, 12)},
            **{f"GATEWAY_UPSTREAMS__{index}__KEYS": "env:KEY,env:OTHER" for index in range(1, 12)},
            "KEY": "a",
            "OTHER": "b",
        },
    )
    assert (config.timeouts.idle, config.timeouts.write) == (7.0, 1.5)
    assert config.branches.trusted_suffixes == (".a.example", ".b.example")
    assert config.catalog.resolve("nine").id == "gemini-9"
    assert [upstream.name for upstream in config.upstreams] == ["simulated", *(f"u{i}" for i in range(1, 12))]
    assert config.upstreams[0].pace == 3.0
    assert [key.reveal() for key in config.upstreams[11].keys] == ["a", "b"]


def test_variables_of_others_are_left_alone() -> None:
    environ = {"GATEWAY_PORT": "tcp://10.0.0.1:80", "GATEWAY_ADMIN_TOKEN": "x", "OTHER_SERVER__LISTEN": "x"}
    assert load(None, HOME | environ).server.listen == ("127.0.0.1:8080",)


def test_a_secret_in_a_file_that_everyone_can_read_is_warned_of(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("planted-secret")
    key.chmod(0o644)
    text = f'[[upstreams]]\nname = "s"\nkind = "ai-studio"\nkeys = ["file:{key}"]\n'
    assert loaded(tmp_path, text).warnings == (f"file:{key} can be read by every user of this machine",)
    key.chmod(0o640)
    assert loaded(tmp_path, text).warnings == ()


def test_an_upstream_that_serves_nothing_is_warned_of(tmp_path: Path) -> None:
    text = SIMULATED + 'models = ["gemini-2.5-*"]\n'
    warning = "upstream 's' serves nothing: no model's short id matches gemini-2.5-*"
    assert loaded(tmp_path, text).warnings == (warning,)
    assert loaded(tmp_path, text + '[catalog]\nallow = ["gemini-2.5-flash-*"]\n').warnings == ()


def test_no_secret_shows_in_a_configuration(tmp_path: Path) -> None:
    text = '[[upstreams]]\nname = "s"\nkind = "ai-studio"\nkeys = ["env:KEY"]\n'
    config = loaded(tmp_path, text, {"KEY": "planted-secret"})
    (key,) = config.upstreams[0].keys
    assert "planted-secret" not in f"{config!r} {config} {key} {key!r}"
    assert str(key) == "Secret(***)"
    assert key.reveal() == "planted-secret"


def test_a_command_that_does_not_serve_needs_no_secret_and_no_certificate(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        "[server]\ntls_cert = '/no/cert'\ntls_key = '/no/key'\n"
        '[[upstreams]]\nname = "s"\nkind = "ai-studio"\nca_file = "/no/ca"\n'
        'keys = ["env:NONE", "file:/no/key", "credential:none"]\n'
    )
    config = load(file, HOME, serving=False)
    assert [key.reference for key in config.upstreams[0].keys] == [
        "env:NONE",
        "file:/no/key",
        "credential:none",
    ]
    with pytest.raises(RuntimeError, match="env:NONE was not read"):
        config.upstreams[0].keys[0].reveal()


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
    ],
)
def test_what_is_loopback(listen: str, loopback: bool) -> None:
    assert Listen.parse(listen).is_loopback is loopback


@pytest.mark.parametrize(
    ("network", "peer", "inside"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.0.0.1", False),
        ("::/0", "10.0.0.1", False),
        ("10.0.0.0/8", "", False),
    ],
)
def test_which_peers_a_network_holds(network: str, peer: str, inside: bool) -> None:
    assert (peer in Network.parse(network)) is inside
