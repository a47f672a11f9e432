"""The systemd unit: valid, well locked in, and in step with what the gateway does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from gateway.config.schema import Server
from tests.support.machine import PROJECT, program

UNIT = PROJECT / "scripts" / "gateway.service"
INTERPRETER = "/opt/gemini-gateway/.venv/bin/python"


def settings(name: str) -> list[str]:
    """Every value the unit gives a key, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / UNIT.name
    # systemd looks for the program itself; what is installed where the unit says is the operator's matter.
    unit.write_text(UNIT.read_text().replace(INTERPRETER, sys.executable))
    result = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if UNIT.name in line]
    assert complaints == []
    assert result.returncode == 0, result.stderr


def test_exposure_is_at_most_2_5() -> None:
    analyze = program("systemd-analyze")
    result = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for gateway.service: ([\d.]+)", result.stdout)
    assert exposure is not None, result.stdout + result.stderr
    assert float(exposure[1]) <= 2.5
    assert result.returncode == 0


def test_the_unit_starts_the_gateway_under_its_own_user_with_the_key_as_a_credential() -> None:
    [command] = settings("ExecStart")
    assert command == f"{INTERPRETER} -m gateway serve --config /etc/gemini-gateway/gateway.toml"
    assert settings("Type") == ["notify"]
    assert settings("DynamicUser") == ["yes"]
    assert settings("LoadCredential") == ["gemini_api_key:/etc/gemini-gateway/gemini_api_key"]


def test_a_reload_is_the_signal_that_the_gateway_takes_for_one() -> None:
    assert settings("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_a_wrong_configuration_is_not_tried_again() -> None:
    assert settings("Restart") == ["on-failure"]
    assert settings("RestartPreventExitStatus") == ["2"]


def test_open_streams_and_connections_get_what_the_gateway_promises_them() -> None:
    defaults = Server()
    [stop] = settings("TimeoutStopSec")
    assert int(stop) > defaults.drain_delay_seconds + defaults.drain_seconds
    [files] = settings("LimitNOFILE")
    assert int(files) > 2 * defaults.max_connections
