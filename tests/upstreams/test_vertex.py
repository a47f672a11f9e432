"""The kind `vertex`: which host and path a location, a version and a model make, and mistakes about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config.changes import watched
from gateway.errors import ConfigurationError
from gateway.exchange import Route
from gateway.upstreams.opening import fixed
from gateway.upstreams.vertex import Vertex
from tests.support.google import service_account

HOME = {"HOME": "/home/operator"}
PLANTED = "AQ.planted-secret-value"
SIMULATED = '[[upstreams]]\nname = "s"\nkind = "simulated"\n'
STUDIO = '[[upstreams]]\nname = "s"\nkind = "ai-studio"\n'
HOSTS = {
    "": "aiplatform.googleapis.com",
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
    "us-central1": "us-central1-aiplatform.googleapis.com",
    "europe-west4": "europe-west4-aiplatform.googleapis.com",
}


def loaded(tmp_path: Path, *lines: str) -> config.Upstream:
    file = tmp_path / "gateway.toml"
    start = '[[upstreams]]\nname = "v"\nkind = "vertex"\nproject = "p-1"\ncredentials = "metadata"\n'
    file.write_text(start + "\n".join(lines))
    return config.load(file, HOME).upstreams[0]


@pytest.mark.parametrize("location", HOSTS)
def test_each_location_has_its_host(location: str, tmp_path: Path) -> None:
    upstream = loaded(tmp_path, f'location = "{location}"' if location else "")
    assert upstream.base_url == f"https://{HOSTS[location]}"
    assert upstream.location == (location or "global")


def test_its_credentials_file_is_watched_and_nothing_of_it_makes_another_upstream(tmp_path: Path) -> None:
    by_metadata = loaded(tmp_path)
    reference = service_account(tmp_path / "sa.json", "https://oauth2.googleapis.com/token")
    file = tmp_path / "gateway.toml"
    file.write_text(file.read_text().replace('"metadata"', f'"{reference}"'))
    by_file = config.load(file, HOME).upstreams[0]
    assert list(watched(by_file)) == [tmp_path / "sa.json"]
    assert by_file != by_metadata
    assert fixed(by_file) == fixed(by_metadata)


def test_a_private_endpoint_replaces_the_host_alone(tmp_path: Path) -> None:
    upstream = loaded(tmp_path, 'location = "us"', 'base_url = "https://vertex.internal/x"')
    assert (upstream.base_url, upstream.location) == ("https://vertex.internal/x", "us")


@pytest.mark.parametrize(
    ("asked", "version"), [("v1", "v1"), ("v1beta", "v1beta1"), ("v1alpha", "v1beta1"), ("", "v1beta1")]
)
def test_a_path_names_project_location_and_model(asked: str, version: str) -> None:
    route = Route(asked, "gemini-2-5-pro", "streamGenerateContent")
    assert Vertex("example.com:p-1", "eu").path(route, "gemini-2.5-pro") == (
        f"/{version}/projects/example.com:p-1/locations/eu/publishers/google/models/gemini-2.5-pro"
        ":streamGenerateContent"
    )


def test_a_token_is_a_bearer() -> None:
    assert Vertex("p", "eu").authorization("ya29.x") == b"Authorization: Bearer ya29.x\r\n"


VERTEX = '[[upstreams]]\nname = "v"\nkind = "vertex"\n'
BAD_VERTEX = [
    (VERTEX, "project: missing"),
    (VERTEX + 'project = ""', "project: missing"),
    (VERTEX + 'project = "p"', "credentials: missing"),
    (VERTEX + 'project = "p"\ncredentials = "metadata"\nkeys = ["env:HOME"]', "keys: a vertex upstream has"),
    (VERTEX + 'project = "p/../q"', "project: expected str matching regex"),
    (VERTEX + 'project = "p"\nlocation = "eu/x"', "location: expected str matching regex"),
    (VERTEX + 'project = "p"\nlocation = ""', "location: expected str matching regex"),
    (VERTEX + 'project = "p"\nlocation = 3', "location: expected str, got int"),
    (VERTEX + f'project = "p"\ncredentials = "{PLANTED}"', "credentials: expected metadata, file:PATH or"),
    (
        VERTEX + 'project = "p"\ncredentials = "file:/nowhere/x"',
        "credentials: file:/nowhere/x cannot be read",
    ),
    (VERTEX + 'project = "p"\ncredentials = "metadata"\npace = 1', "pace: only a simulated upstream has one"),
    (VERTEX + 'project = "p"\ncredentials = "metadata"\nweight = 0', "weight: expected int >= 1"),
    (SIMULATED + 'location = "eu"', "location: only a vertex upstream has one"),
    (STUDIO + 'keys = ["env:HOME"]\nproject = "p"', "project: only a vertex upstream has one"),
    (STUDIO + 'keys = ["env:HOME"]\ncredentials = "metadata"', "credentials: only a vertex upstream has"),
]


@pytest.mark.parametrize(("text", "told"), BAD_VERTEX)
def test_a_mistake_about_vertex(text: str, told: str, tmp_path: Path) -> None:
    key, _, words = told.partition(": ")
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        config.load(file, HOME)
    line = str(caught.value)
    assert line.startswith((f"{file}: upstreams[0].{key}: {words}", f"{file}: upstreams.{key}: {words}"))
    assert PLANTED not in line
