"""Other gateways that people put before Gemini, as further subjects: each as its own documentation runs it.

scripts/benchmark installs them on demand.
"""

from __future__ import annotations

from benchmarks import programs
from benchmarks.subjects import MODEL, PROJECT, UPSTREAM_KEY, Machine, Subject, Upstream

_MASTER_KEY = "sk-benchmark"
_LITELLM = PROJECT / ".venv-litellm" / "bin" / "litellm"
_PORTKEY = (
    PROJECT / "build" / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
)


def start_litellm(machine: Machine, upstream: Upstream) -> Subject:
    """LiteLLM's Gemini pass-through: one worker, no database, its own log at its least."""
    port = programs.free_port()
    program = programs.start(
        "litellm",
        f"{_LITELLM} --host 127.0.0.1 --port {port} --num_workers 1 --telemetry False".split(),
        machine.directory,
        core=machine.cores.subject,
        environment={
            "LITELLM_MASTER_KEY": _MASTER_KEY,
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "GEMINI_API_KEY": UPSTREAM_KEY,
            "GEMINI_API_BASE": machine.base_url(upstream),
        },
        drain_to=machine.cores.helpers,
    )
    program.wait_for_port(port)
    headers = (f"x-goog-api-key: {_MASTER_KEY}",)
    return Subject("litellm", upstream, port, f"/gemini/v1beta/models/{MODEL}", headers, program)


def start_portkey(machine: Machine, upstream: Upstream) -> Subject:
    """Portkey's gateway. Gemini's own paths fail in it: it is asked for chat completions, and converts."""
    port = programs.free_port()
    program = programs.start(
        "portkey",
        ["node", str(_PORTKEY), f"--port={port}", "--headless"],
        machine.directory,
        core=machine.cores.subject,
        environment={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "localhost"},
        drain_to=machine.cores.helpers,
    )
    program.wait_for_port(port)
    headers = (
        "x-portkey-provider: google",
        f"x-portkey-custom-host: {machine.base_url(upstream)}/v1beta",
        f"Authorization: Bearer {UPSTREAM_KEY}",
    )
    return Subject("portkey", upstream, port, "/v1/chat/completions", headers, program, chat=True)
