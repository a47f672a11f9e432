"""`models` and `check-config`, run as an operator runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.google import service_account
from tests.support.machine import PROJECT
from tests.support.process import clean_environment

PLANTED = "AQ.planted-secret-value"
CONFIGURATION = """
[store]
url = "sqlite:////nowhere/gateway.db"
[catalog]
remove = ["gemini-3-pro"]
[catalog.models.gemini-9]
aliases = ["gemini-9.0"]
upstream_names = { ai-studio = "gemini-9.0" }
shutdown = { ai-studio = 2020-02-03 }
[[upstreams]]
name = "studio"
kind = "ai-studio"
keys = ["env:KEY"]
models = ["gemini-9", "gemini-3-*"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION)
    return path


def gateway(*arguments: str | Path, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `python -m gateway …`."""
    finished = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=PROJECT,
        env=clean_environment(environ),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert PLANTED not in finished.stdout + finished.stderr
    return finished.returncode, finished.stdout, finished.stderr


def test_models_as_a_table(file: Path) -> None:
    code, out, err = gateway("models", "--config", file)
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert rows["MODEL"].split("  ")[0] == "MODEL"
    assert rows["gemini-9"].split() == [
        *("gemini-9", "yes", "2020-02-03", "on", "ai-studio"),
        *("gemini-9.0,", "databricks-gemini-9,", "system.ai.gemini-9"),
    ]
    assert rows["gemini-2-5-flash"].split()[1:3] == ["no", "2026-12-01"]
    assert rows["gpt-5"].split() == ["gpt-5", "no", "-", "databricks-gpt-5,", "system.ai.gpt-5"]
    assert "gemini-3-pro" not in rows


def test_models_as_json(file: Path) -> None:
    code, out, _ = gateway("models", "--config", file, "--json")
    models = {model["id"]: model for model in json.loads(out)}
    assert code == 0
    assert models["gemini-9"] == {
        "id": "gemini-9",
        "provider": "google",
        "aliases": ["gemini-9.0", "databricks-gemini-9", "system.ai.gemini-9"],
        "served": True,
        "upstream_names": {"ai-studio": "gemini-9.0"},
        "shutdown": {"ai-studio": "2020-02-03"},
    }
    assert {name for name, model in models.items() if model["served"]} == {
        *("gemini-9", "gemini-3-6-flash", "gemini-3-5-flash", "gemini-3-5-flash-lite"),
        *("gemini-3-1-pro", "gemini-3-1-flash-lite", "gemini-3-flash"),
    }


def test_models_without_a_file() -> None:
    code, out, _ = gateway("models", "--json")
    assert code == 0
    assert sum(model["served"] for model in json.loads(out)) == 9


def test_check_config_says_ok_and_no_secret(file: Path) -> None:
    code, out, err = gateway("check-config", "--config", file, KEY=PLANTED)
    assert (code, err) == (0, "")
    assert out.splitlines()[:6] == [
        "ok",
        f"file      {file}",
        "listen    127.0.0.1:8080",
        "admin     127.0.0.1:8081",
        "store     sqlite:////nowhere/gateway.db",
        "upstream  studio: ai-studio at https://generativelanguage.googleapis.com with env:KEY,"
        " models gemini-9, gemini-3-*",
    ]
    assert "warning   gemini-9 was shut down on ai-studio on 2020-02-03" in out


def test_check_config_as_json(file: Path) -> None:
    code, out, _ = gateway("check-config", "--config", file, "--json", KEY=PLANTED)
    summary = json.loads(out)
    assert code == 0
    assert (summary["ok"], summary["file"], summary["listen"]) == (True, str(file), ["127.0.0.1:8080"])
    assert summary["upstreams"] == [
        {
            "name": "studio",
            "kind": "ai-studio",
            "base_url": "https://generativelanguage.googleapis.com",
            "keys": ["env:KEY"],
            "project": None,
            "location": None,
            "models": ["gemini-9", "gemini-3-*"],
        }
    ]
    assert "gemini-9 was shut down on ai-studio on 2020-02-03" in summary["warnings"]


def test_check_config_tells_of_vertex_without_its_secrets(tmp_path: Path) -> None:
    credentials = service_account(tmp_path / "sa.json", "https://oauth2.googleapis.com/token")
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[[upstreams]]\nname = "v"\nkind = "vertex"\nproject = "p-1"\nlocation = "eu"\n'
        f'credentials = "{credentials}"\n'
    )
    code, out, err = gateway("check-config", "--config", file)
    where = "https://aiplatform.eu.rep.googleapis.com"
    assert (code, err) == (0, "")
    assert f"upstream  v: vertex at {where} with {credentials}, project p-1, location eu, models *" in out
    assert "PRIVATE" not in out
    _, out, _ = gateway("check-config", "--config", file, "--json")
    (told,) = json.loads(out)["upstreams"]
    assert (told["keys"], told["project"], told["location"]) == ([credentials], "p-1", "eu")


def test_check_config_without_a_file() -> None:
    code, out, _ = gateway("check-config")
    assert code == 0
    assert out.splitlines()[:2] == ["ok", "file      none: the built-in configuration"]
    assert "upstream  simulated: simulated, models *" in out


@pytest.mark.parametrize("command", ["check-config", "models", "serve"])
def test_a_bad_configuration_is_one_line_and_exit_2(file: Path, command: str) -> None:
    file.write_text(CONFIGURATION + "wait = 2\n")
    code, out, err = gateway(command, "--config", file, KEY=PLANTED)
    assert (code, out, err) == (2, "", f"error: {file}: upstreams[0].wait: unknown key\n")


def test_a_missing_secret_is_one_line_and_exit_2(file: Path) -> None:
    code, out, err = gateway("check-config", "--config", file)
    assert (code, out, err) == (2, "", f"error: {file}: upstreams[0].keys[0]: env:KEY is not set\n")


def test_a_literal_key_is_not_echoed(file: Path) -> None:
    file.write_text(CONFIGURATION.replace("env:KEY", PLANTED))
    code, out, err = gateway("check-config", "--config", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: upstreams[0].keys[0]: expected env:NAME")
