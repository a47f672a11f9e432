"""Every mistake an operator can make in the configuration gives one line that names the place to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load
from gateway.errors import ConfigurationError
from tests.support.tls import TestCertificates, make_certificates

HOME = {"HOME": "/home/operator"}
SIMULATED = '[[upstreams]]\nname = "s"\nkind = "simulated"\n'
STUDIO = '[[upstreams]]\nname = "s"\nkind = "ai-studio"\n'
PLANTED = "AQ.planted-secret-value"


def complaint(
    tmp_path: Path,
    text: str,
    environ: dict[str, str] | None = None,
    overrides: dict[str, object] | None = None,
) -> str:
    """What is said about a file with this text, which is called `FILE`."""
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, HOME | (environ or {}), overrides)
    line = str(caught.value)
    assert "\n" not in line
    assert PLANTED not in line
    assert caught.value.__cause__ is None
    return line.replace(str(file), "FILE").replace(str(tmp_path), "DIR")


BAD_SECTIONS = [
    # types and unknown keys
    ("server = 3", "FILE: server: expected table, got int"),
    ("[server]\nlisten = 8080", "FILE: server.listen: expected list, got int"),
    ("[server]\nlisten = [8080]", "FILE: server.listen[0]: expected str, got int"),
    ("[server]\nmax_connections = '9'", "FILE: server.max_connections: expected int, got str"),
    ("[server]\nmax_connections = true", "FILE: server.max_connections: expected int, got bool"),
    ("[server]\nmax_connections = 1.0", "FILE: server.max_connections: expected int, got float"),
    ("[server]\nworker = 2", "FILE: server.worker: unknown key"),
    ("[sever]\n", "FILE: sever: unknown key"),
    ("upstream = 1", "FILE: upstream: unknown key"),
    ("[server]\ntls_cert = 3", "FILE: server.tls_cert: expected str, got int"),
    ("[server]\ntls_cert = ''", "FILE: server.tls_cert: expected a file's path"),
    ("[branches]\ntrusted_suffixes = '.a.b'", "FILE: branches.trusted_suffixes: expected list, got str"),
    # numbers
    ("[server]\nmax_body_bytes = 0", "FILE: server.max_body_bytes: expected int >= 1"),
    ("[server]\nworkers = 0", "FILE: server.workers: expected int >= 1"),
    ("[server]\nworkers = 257", "FILE: server.workers: expected int <= 256"),
    ("[server]\nmax_connections = -1", "FILE: server.max_connections: expected int >= 1"),
    ("[server]\ndrain_seconds = -0.5", "FILE: server.drain_seconds: expected float >= 0.0"),
    ("[server]\ndrain_delay_seconds = inf", "FILE: server.drain_delay_seconds: expected float <= 86400.0"),
    ("[timeouts]\nconnect = 0", "FILE: timeouts.connect: expected float > 0.0"),
    ("[timeouts]\nfirst_byte = nan", "FILE: timeouts.first_byte: expected float > 0.0"),
    ("[timeouts]\nidle = inf", "FILE: timeouts.idle: expected float <= 86400.0"),
    ("[timeouts]\nwrite = '1'", "FILE: timeouts.write: expected float, got str"),
    ("[timeouts]\ntotal = 1" + "0" * 400, "FILE: timeouts.total: number out of range"),
    # addresses
    ("[server]\nlisten = []", "FILE: server.listen: at least one address is needed"),
    *(
        (
            f"[server]\nlisten = '{bad}'",
            f"FILE: server.listen[0]: '{bad}' is not host:port, [ipv6]:port or unix:/path (ports 0 to 65535)",
        )
        for bad in ("", "8080:", "localhost", "a:65536", "a:-1", "a:1_0", "a:\u0661", "a:123456", "http://a")
    ),
    *(
        (f"[server]\nlisten = '{bad}'", f"FILE: server.listen[0]: '{bad}' has no valid host before its port")
        for bad in (
            ":80",
            "::1:80",
            "[::1:80",
            "[x]:80",
            "1.2.3:80",
            "999.1.1.1:80",
            "a b:80",
            "*:80",
            "-a:80",
        )
    ),
    *(
        (
            f"[server]\nlisten = '{bad}'",
            f"FILE: server.listen[0]: '{bad}' is not unix: and an absolute path of at most 107 bytes",
        )
        for bad in ("unix:", "unix:run/x", "unix:/" + "x" * 107)
    ),
    (
        "[server]\nlisten = ['127.0.0.1:1', '127.0.0.1:1']",
        "FILE: server.listen: 127.0.0.1:1 is listened on twice",
    ),
    ("[server]\nlisten = '127.0.0.1:8081'", "FILE: server.listen: 127.0.0.1:8081 is listened on twice"),
    ("[server]\nadmin_listen = ['127.0.0.1:1']", "FILE: server.admin_listen: expected str, got list"),
    *(
        (
            f"[server]\nadmin_listen = '{address}'\n[admin]\nhosts = ['host.example']",
            f"FILE: server.admin_listen: {address} is not on loopback, which needs admin.token",
        )
        for address in ("0.0.0.0:8081", "[::]:0", "host.example:1")
    ),
    # admin
    ("[admin]\ntoken = 7", "FILE: admin.token: expected str, got int"),
    (
        f"[admin]\ntoken = '{PLANTED}'",
        "FILE: admin.token: expected env:NAME, file:PATH or credential:NAME, not a secret itself",
    ),
    ("[admin]\ntoken = 'env:NOBODY_SET_THIS'", "FILE: admin.token: env:NOBODY_SET_THIS is not set"),
    ("[admin]\nhosts = 'a.example'", "FILE: admin.hosts: expected list, got str"),
    *(
        (
            f"[admin]\nhosts = ['a.example', '{bad}']",
            f"FILE: admin.hosts[1]: '{bad}' is not a host's name without a port, as 'gateway.internal' is",
        )
        for bad in ("", "a.example:8081", "*.example", "http://a", ".a", "[::1]")
    ),
    # TLS
    ("[server]\ntls_cert = 'a'", "FILE: server.tls_key: tls_cert and tls_key go together"),
    ("[server]\ntls_key = 'a'", "FILE: server.tls_cert: tls_cert and tls_key go together"),
    (
        "[server]\ntls_cert = '/no/cert'\ntls_key = '/no/key'",
        "FILE: server.tls_cert: /no/cert cannot be read: No such file or directory",
    ),
    # proxies and headers
    (
        "[server]\ntrusted_proxies = ['10.0.0.1/8']",
        "FILE: server.trusted_proxies[0]: 10.0.0.1/8 has host bits set",
    ),
    (
        "[server]\ntrusted_proxies = ['::1', 'lb']",
        "FILE: server.trusted_proxies[1]: 'lb' does not appear to be an IPv4 or IPv6 network",
    ),
    *(
        (
            f"[server]\nforward_request_headers = ['x-ok', '{bad}']",
            f"FILE: server.forward_request_headers[1]: '{bad}' is not a header's name",
        )
        for bad in ("", "a b", "x:y", "é")
    ),
    *(
        (
            f"[server]\nforward_request_headers = ['{bad}']",
            f"FILE: server.forward_request_headers[0]: '{bad}' is a header that is never passed on",
        )
        for bad in (
            *("Authorization", "X-Goog-Api-Key", "cookie", "Proxy-Authorization", "Host", "Content-Length"),
            *("Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Upgrade", "Expect", "X-Gateway-Error"),
            *("X-Goog-FieldMask", "X-HTTP-Method-Override", "Accept-Encoding"),
        )
    ),
    # store and branches
    *(
        (
            f"[store]\nurl = '{bad}'",
            "FILE: store.url: expected sqlite:///relative/path, sqlite:////absolute/path or"
            " postgresql://user@host:port/database",
        )
        for bad in (
            *("", "sqlite://", "sqlite:///", "sqlite:////", "sqlite:///:memory:", "sqlite:///a?mode=ro"),
            *("/var/lib/x.db", f"mysql://u:{PLANTED}@h/db", f"postgres:{PLANTED}"),
        )
    ),
    *(
        (
            f"[store]\nurl = '{bad}'",
            "FILE: store.url: expected postgresql://user@host:port/database",
        )
        for bad in (
            *(
                "postgresql://",
                "postgresql://h",
                "postgresql://h/",
                "postgresql://h/a b",
                "postgresql://h/d#x",
            ),
            *("postgresql://h:99999/d", "postgresql://h:x/d", "postgresql://[::1/d", "postgresql://h/d?a"),
        )
    ),
    (
        f"[store]\nurl = 'postgresql://u:{PLANTED}@h/d'",
        "FILE: store.url: a password is not for here: store.password refers to it",
    ),
    *(
        (
            f"[store]\nurl = 'postgresql://h/d?sslmode=require&{bad}=x'",
            "FILE: store.url: after the ? only host, sslmode, sslrootcert, sslcert, sslkey,"
            " target_session_attrs can be set",
        )
        for bad in ("password", PLANTED, "user")
    ),
    (
        "[store]\npassword = 'env:HOME'",
        "FILE: store.password: an SQLite file has none",
    ),
    ("[ledger]\nwhen_full = 'wait'", "FILE: ledger.when_full: 'wait' is none of drop, refuse"),
    ("[ledger]\nretention_days = 0", "FILE: ledger.retention_days: expected int >= 1"),
    *(
        (
            f"[branches]\ntrusted_suffixes = ['{bad}']",
            f"FILE: branches.trusted_suffixes[0]: '{bad}' is not a suffix of host names such as"
            " '.ai.example.com'",
        )
        for bad in ("", "ai.example.com", ".", ".a..b", ".a:80", ".-a", "*.a")
    ),
    (
        "[branches]\ndefault = ''",
        r"FILE: branches.default: expected str matching regex '^[A-Za-z0-9._/-]{1,128}\Z'",
    ),
    # prices
    ("[prices]\nmodels = 3", "FILE: prices.models: expected table, got int"),
    ("[prices.models.a]", "FILE: prices.models.a.rates: missing"),
    ("[prices.models.a]\nrates = []", "FILE: prices.models.a.rates: expected list of length >= 1"),
    ("[prices.models.a]\nrates = [{input = 1}]", "FILE: prices.models.a.rates[0].output: missing"),
    ("[prices.models.a]\nrates = [{inputs = 1}]", "FILE: prices.models.a.rates[0].inputs: unknown key"),
    (
        "[prices.models.a]\nrates = [{input = -1, output = 1}]",
        "FILE: prices.models.a.rates[0].input: expected float >= 0.0",
    ),
    (
        "[prices.models.a]\nrates = [{input = nan, output = 1}]",
        "FILE: prices.models.a.rates[0].input: expected float >= 0.0",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = inf}]",
        "FILE: prices.models.a.rates[0].output: expected float <= 10000.0",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = '2'}]",
        "FILE: prices.models.a.rates[0].output: expected float, got str",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = 2, over = -1}]",
        "FILE: prices.models.a.rates[0].over: expected int >= 0",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = 2, tier = 'batch'}]",
        "FILE: prices.models.a.rates[0].tier: 'batch' is none of standard, flex, priority",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = 2, since = 2026}]",
        "FILE: prices.models.a.rates[0].since: expected date, got int",
    ),
    (
        "[prices.models.a]\nrates = [{input = 1, output = 2}, {input = 1, output = 3}]",
        "FILE: prices.models.a.rates: two rates hold at once",
    ),
    # catalog
    ("[catalog]\nallow = '*'", "FILE: catalog.allow: expected list, got str"),
    ("[catalog.models.a]\nalias = ['b']", "FILE: catalog.models.a.alias: unknown key"),
    (
        "[catalog.models.fine]\n[catalog.models.a]\naliases = [3]",
        "FILE: catalog.models.a.aliases[0]: expected str, got int",
    ),
    ("[catalog.models]\na = 3", "FILE: catalog.models.a: expected table, got int"),
    (
        "[catalog.models.a]\nshutdown = {ai-studio = '2026-12-01x'}",
        "FILE: catalog.models.a.shutdown: invalid RFC3339 encoded date",
    ),
    (
        "[catalog.models.a]\nupstream_names = {ai_studio = 'b'}",
        "FILE: catalog.models.a.upstream_names: 'ai_studio' is none of simulated, ai-studio, vertex, gateway",
    ),
    (
        "[catalog.models.a]\nupstream_names = {gateway = 'b/c'}",
        r"FILE: catalog.models.a.upstream_names: expected str matching regex '^[A-Za-z0-9._-]{1,128}\Z'",
    ),
    (
        "[catalog.models.a]\naliases = ['gemini-2.5-pro']",
        "FILE: catalog.models: 'gemini-2.5-pro' names both gemini-2-5-pro and a",
    ),
    ("[catalog]\nremove = ['x']", "FILE: catalog.remove: no model of the catalog has the id 'x'"),
]


@pytest.mark.parametrize(("text", "line"), BAD_SECTIONS)
def test_a_mistake_in_a_section(tmp_path: Path, text: str, line: str) -> None:
    assert complaint(tmp_path, text + "\n" + SIMULATED) == line


BAD_UPSTREAMS = [
    ("", "FILE: upstreams: at least one upstream is needed"),
    ("upstreams = []", "FILE: upstreams: at least one upstream is needed"),
    ("upstreams = 3", "FILE: upstreams: expected list, got int"),
    ("upstreams = [3]", "FILE: upstreams[0]: expected table, got int"),
    ('[upstreams]\nname = "s"', "FILE: upstreams: expected list, got table"),
    ('[[upstreams]]\nkind = "simulated"', "FILE: upstreams[0].name: missing"),
    ('[[upstreams]]\nname = "s"', "FILE: upstreams[0].kind: missing"),
    (
        SIMULATED + '[[upstreams]]\nname = "s"\nkind = "verdex"',
        "FILE: upstreams[1].kind: 'verdex' is none of simulated, ai-studio, vertex, gateway",
    ),
    (SIMULATED + SIMULATED, "FILE: upstreams[1].name: 's' is taken by another upstream"),
    (
        SIMULATED.replace('"s"', '"a b"'),
        r"FILE: upstreams[0].name: expected str matching regex '^[A-Za-z0-9._-]{1,64}\Z'",
    ),
    (SIMULATED + "wait = 1", "FILE: upstreams[0].wait: unknown key"),
    (SIMULATED + "priority = 0", "FILE: upstreams[0].priority: expected int >= 1"),
    (SIMULATED + "pace = -1", "FILE: upstreams[0].pace: expected float >= 0.0"),
    (SIMULATED + "models = []", "FILE: upstreams[0].models: expected list of length >= 1"),
    (SIMULATED + 'keys = ["env:HOME"]', "FILE: upstreams[0].keys: a simulated upstream has none"),
    (SIMULATED + 'base_url = "http://a"', "FILE: upstreams[0].base_url: a simulated upstream has none"),
    (SIMULATED + 'ca_file = "a"', "FILE: upstreams[0].ca_file: a simulated upstream has none"),
    (STUDIO, "FILE: upstreams[0].keys: at least one key is needed"),
    (STUDIO + 'keys = ["env:KEY"]\npace = 5', "FILE: upstreams[0].pace: only a simulated upstream has one"),
    (STUDIO.replace("ai-studio", "gateway") + 'keys = ["env:KEY"]', "FILE: upstreams[0].base_url: missing"),
    *(
        (
            STUDIO + f'keys = ["env:KEY"]\nbase_url = "{bad}"',
            "FILE: upstreams[0].base_url: expected http(s)://host[:port][/path], without user, query and"
            " fragment",
        )
        for bad in (
            *(
                "",
                "a.example",
                "ftp://a",
                "https://",
                "https:///x",
                "https://a?b",
                "https://a#b",
                "https://a/b c",
            ),
            *(f"https://u:{PLANTED}@a", f"https://a/?key={PLANTED}", "https://a:65536", "https://[zz]/"),
            *("https://[1.2.3]/", "https://é", "https://a\\\\b"),
        )
    ),
    (
        STUDIO + 'keys = ["env:KEY"]\nbase_url = "http://a"\nca_file = "b"',
        "FILE: upstreams[0].ca_file: only an https base_url needs one",
    ),
    (
        STUDIO + 'keys = ["env:KEY"]\nca_file = "/no/ca"',
        "FILE: upstreams[0].ca_file: /no/ca cannot be read: No such file or directory",
    ),
    (STUDIO + 'keys = "env:KEY"', "FILE: upstreams[0].keys: expected list, got str"),
    (STUDIO + "keys = [3]", "FILE: upstreams[0].keys[0]: expected str, got int"),
    *(
        (
            STUDIO + f'keys = ["env:KEY", "{literal}"]',
            "FILE: upstreams[0].keys[1]: expected env:NAME, file:PATH or credential:NAME, not a"
            " secret itself",
        )
        for literal in (
            *("", PLANTED, f"env:{PLANTED}", "env:", "file:", "credential:", f"credential:../{PLANTED}"),
            *(f"ENV:{PLANTED}", f"https://{PLANTED}"),
        )
    ),
    (STUDIO + 'keys = ["env:MISSING"]', "FILE: upstreams[0].keys[0]: env:MISSING is not set"),
    (STUDIO + 'keys = ["env:EMPTY"]', "FILE: upstreams[0].keys[0]: env:EMPTY is empty"),
    *(
        (
            STUDIO + f'keys = ["env:{name}"]',
            f"FILE: upstreams[0].keys[0]: env:{name} holds something other than one line of visible ASCII"
            " characters",
        )
        for name in ("CONTROL", "ACCENT", "SPACE", "LONG")
    ),
    (
        STUDIO + 'keys = ["file:/no/key"]',
        "FILE: upstreams[0].keys[0]: file:/no/key cannot be read: No such file or directory",
    ),
    (
        STUDIO + 'keys = ["credential:k"]',
        "FILE: upstreams[0].keys[0]: credential:k needs CREDENTIALS_DIRECTORY, which systemd sets for a"
        " service",
    ),
]

KEYS = {
    "KEY": "good",
    "EMPTY": "",
    "CONTROL": f"{PLANTED}\r\nX-Injected: 1",
    "ACCENT": f"{PLANTED}é",
    "SPACE": f"{PLANTED} ",
    "LONG": PLANTED * 2000,
}


@pytest.mark.parametrize(("text", "line"), BAD_UPSTREAMS)
def test_a_mistake_in_the_upstreams(tmp_path: Path, text: str, line: str) -> None:
    assert complaint(tmp_path, text, KEYS) == line


BAD_SURROUNDINGS: list[tuple[dict[str, str], dict[str, object], str]] = [
    (
        {"GATEWAY_SERVER__LISTEN": "a:b"},
        {},
        "GATEWAY_SERVER__LISTEN: 'a:b' is not host:port, [ipv6]:port or",
    ),
    ({"GATEWAY_SERVER__LISTEN": "[1"}, {}, "GATEWAY_SERVER__LISTEN: '[1' is not host:port, [ipv6]:port or"),
    ({"GATEWAY_SERVER__LISTEN": "[1]"}, {}, "GATEWAY_SERVER__LISTEN: expected str, got int"),
    ({"GATEWAY_SERVER__LISTEN": "[a]"}, {}, "GATEWAY_SERVER__LISTEN: is not a valid TOML value"),
    (
        {"GATEWAY_SERVER__MAX_CONNECTIONS": "many"},
        {},
        "GATEWAY_SERVER__MAX_CONNECTIONS: expected int, got str",
    ),
    ({"GATEWAY_SERVER__MAX_CONNECTIONS": "0"}, {}, "GATEWAY_SERVER__MAX_CONNECTIONS: expected int >= 1"),
    ({"GATEWAY_TIMEOUTS__IDLE": "true"}, {}, "GATEWAY_TIMEOUTS__IDLE: expected float, got bool"),
    ({"GATEWAY_TIMEOUTS__IDLE": "1\nb = 2"}, {}, "GATEWAY_TIMEOUTS__IDLE: expected float, got str"),
    ({"GATEWAY_SERVER__LISTNE": "a"}, {}, "GATEWAY_SERVER__LISTNE: names no configuration key"),
    ({"GATEWAY_SERVER__LISTEN__X": "a"}, {}, "GATEWAY_SERVER__LISTEN__X: names no configuration key"),
    ({"GATEWAY_UPSTREAMS__S__NAME": "a"}, {}, "GATEWAY_UPSTREAMS__S__NAME: names no configuration key"),
    ({"GATEWAY_UPSTREAMS__0": "a"}, {}, "GATEWAY_UPSTREAMS__0: names no configuration key"),
    ({"GATEWAY_UPSTREAMS__2__NAME": "a"}, {}, "GATEWAY_UPSTREAMS__2__NAME: skips a number, the next is 1"),
    (
        {"GATEWAY_UPSTREAMS__0__KIND": "x"},
        {},
        "GATEWAY_UPSTREAMS__0__KIND: 'x' is none of simulated, ai-studio,",
    ),
    ({"GATEWAY_server__listen": "a"}, {}, "GATEWAY_server__listen: names no configuration key (they are in"),
    ({"GATEWAY_CATALOG__MODELS": "{"}, {}, "GATEWAY_CATALOG__MODELS: is not a valid TOML value"),
    (
        {"GATEWAY_CATALOG__MODELS": "{a = {aliases = ['gpt-5']}}"},
        {},
        "GATEWAY_CATALOG__MODELS: 'gpt-5' names both gpt-5 and a",
    ),
    ({"GATEWAY_CATALOG__MODELS": "{a = {b = 1}}"}, {}, "GATEWAY_CATALOG__MODELS: unknown key"),
    ({"GATEWAY_SERVER__TLS_KEY": "k"}, {}, "FILE: server.tls_cert: tls_cert and tls_key go together"),
    ({"GATEWAY_STORE__URL": f"x://{PLANTED}"}, {}, "GATEWAY_STORE__URL: expected sqlite:///relative/path, "),
    ({}, {"server.listen": "nowhere"}, "--listen: 'nowhere' is not host:port"),
    ({}, {"server.max_connections": "x"}, "--max-connections: expected int, got str"),
    ({"GATEWAY_SERVER__LISTEN": "good:1"}, {"server.listen": "bad"}, "--listen: 'bad' is not host:port"),
]


@pytest.mark.parametrize(("environ", "overrides", "line"), BAD_SURROUNDINGS)
def test_a_mistake_outside_the_file(
    tmp_path: Path, environ: dict[str, str], overrides: dict[str, object], line: str
) -> None:
    assert complaint(tmp_path, SIMULATED, environ, overrides).startswith(line)


def test_an_environment_variable_under_a_section_that_is_no_table(tmp_path: Path) -> None:
    line = complaint(tmp_path, "server = 3\n" + SIMULATED, {"GATEWAY_SERVER__LISTEN": "127.0.0.1:1"})
    assert line == "FILE: server: expected table, got int"


def test_no_home_for_the_store(tmp_path: Path) -> None:
    assert complaint(tmp_path, SIMULATED, {"HOME": ""}) == "FILE: store.url: missing"
    config = "[store]\nurl = 'postgresql://h/d'\n" + SIMULATED
    assert complaint(tmp_path, config, {"HOME": ""}) == "FILE: store.state_dir: missing"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            b"[server\n",
            "is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 8)",
        ),
        (b"a = 1\nb =\n", "is not valid TOML: Invalid value (at line 2, column 4)"),
        (b"a = 1\na = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 6)"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
        (b"a = '\xff'", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, text: bytes, line: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, HOME)
    assert str(caught.value) == f"{file}: {line}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError) as caught:
            load(path, HOME)
        assert str(caught.value) == f"{path}: cannot be read: {why}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_a_certificate_that_does_not_go_with_its_key(tmp_path: Path, certificates: TestCertificates) -> None:
    cert, key = certificates.server.certificate, certificates.wrong_name.key
    line = complaint(tmp_path, f"[server]\ntls_cert = '{cert}'\ntls_key = '{key}'\n{SIMULATED}")
    assert (
        line == f"FILE: server.tls_cert: {cert} and {key} are not a PEM certificate and its unencrypted key"
    )


def test_a_ca_file_without_a_certificate(tmp_path: Path, certificates: TestCertificates) -> None:
    text = STUDIO + f'keys = ["env:KEY"]\nca_file = "{certificates.server.key}"'
    line = complaint(tmp_path, text, KEYS)
    assert line == f"FILE: upstreams[0].ca_file: {certificates.server.key} holds no certificate in PEM form"


def test_listening_beyond_this_machine_needs_a_file() -> None:
    for environ, overrides, line in (
        ({"GATEWAY_SERVER__LISTEN": "0.0.0.0:80"}, {}, "GATEWAY_SERVER__LISTEN: 0.0.0.0:80"),
        ({}, {"server.listen": "[::]:80"}, "--listen: [::]:80"),
        ({}, {"server.listen": "127.0.0.1:1,gateway.example:80"}, "--listen: gateway.example:80"),
        (
            {"GATEWAY_SERVER__ADMIN_LISTEN": "0.0.0.0:81", "GATEWAY_ADMIN__TOKEN": "env:HOME"},
            {},
            "GATEWAY_SERVER__ADMIN_LISTEN: 0.0.0.0:81",
        ),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load(None, HOME | environ, overrides)
        assert str(caught.value) == f"{line} is not on loopback, which needs a configuration file"


def test_a_bad_key_in_the_environment_without_a_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, HOME | {"GEMINI_API_KEY": f"{PLANTED}\n"})
    assert str(caught.value) == (
        "built-in configuration: upstreams[0].keys[0]: env:GEMINI_API_KEY holds something other than one line"
        " of visible ASCII characters"
    )
