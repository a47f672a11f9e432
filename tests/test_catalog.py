"""The catalog: every documented name leads to its model, and an operator's changes do what they say."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from gateway.catalog import Catalog, CatalogSettings
from gateway.errors import ConfigurationError, GatewayError

SERVED = {
    "gemini-3-6-flash": "gemini-3.6-flash",
    "gemini-3-5-flash": "gemini-3.5-flash",
    "gemini-3-5-flash-lite": "gemini-3.5-flash-lite",
    "gemini-3-1-pro": "gemini-3.1-pro-preview",
    "gemini-3-1-flash-lite": "gemini-3.1-flash-lite",
    "gemini-3-pro": "gemini-3-pro-preview",
    "gemini-3-flash": "gemini-3-flash-preview",
    "gemini-2-5-pro": "gemini-2.5-pro",
    "gemini-2-5-flash": "gemini-2.5-flash",
}
"""Short id to Google's own name."""

ELSEWHERE = [
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-sonnet-4-6",
    "claude-haiku-4-5",
    "gpt-5-5-pro",
    "gpt-5-5",
    "gpt-5-4",
    "gpt-5-4-mini",
    "gpt-5-4-nano",
    "gpt-5-3-codex",
    "gpt-5-2-codex",
    "gpt-5-2",
    "gpt-5-1-codex-max",
    "gpt-5-1-codex-mini",
    "gpt-5-1",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "qwen35-122b-a10b",
    "qwen3-next-80b-a3b-instruct",
    "llama-4-maverick",
    "meta-llama-3-3-70b-instruct",
    "meta-llama-3-1-8b-instruct",
    "gemma-3-12b",
]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.build()


def changed(**settings: object) -> Catalog:
    return Catalog.build(msgspec.convert(settings, CatalogSettings))


def refusal(catalog: Catalog, name: str) -> tuple[str, dict[str, str]]:
    with pytest.raises(GatewayError) as caught:
        catalog.resolve(name)
    return caught.value.refusal.reason, caught.value.metadata


@pytest.mark.parametrize(("short", "google"), SERVED.items())
def test_every_name_of_a_served_model(catalog: Catalog, short: str, google: str) -> None:
    for name in (short, google, f"databricks-{short}", f"system.ai.{short}"):
        model = catalog.resolve(name)
        assert model.id == short
        assert model.provider == "google"
        assert model.upstream_name("ai-studio") == google
        assert model.upstream_name("vertex") == google
        assert model.upstream_name("gateway") == short
        assert model.upstream_name("simulated") == short


def test_served_models_are_the_documented_ones(catalog: Catalog) -> None:
    assert {model.id for model in catalog.models if model.on_endpoint} == set(SERVED)


@pytest.mark.parametrize("name", ["gemini-3.1-pro", "gemini-3.1-flash-lite-preview"])
def test_both_names_of_a_model_that_was_a_preview(catalog: Catalog, name: str) -> None:
    assert catalog.resolve(name).id in ("gemini-3-1-pro", "gemini-3-1-flash-lite")


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("prefix", ["", "databricks-", "system.ai."])
def test_a_real_model_of_another_endpoint_is_told_apart_from_a_typo(
    catalog: Catalog, prefix: str, name: str
) -> None:
    assert refusal(catalog, prefix + name) == ("MODEL_NOT_ON_ENDPOINT", {"model": prefix + name})


@pytest.mark.parametrize("name", ["gemini-9", "Gemini-2.5-Flash", "gemini-2-5-flash-", "", "databricks-"])
def test_an_unknown_name(catalog: Catalog, name: str) -> None:
    assert refusal(catalog, name) == ("MODEL_UNKNOWN", {"model": name})


def test_what_is_quoted_of_an_unknown_name_is_printable_and_short(catalog: Catalog) -> None:
    assert refusal(catalog, "é\n" + "x" * 500) == ("MODEL_UNKNOWN", {"model": "??" + "x" * 126})


def test_allow_passes_names_on_unchanged() -> None:
    catalog = changed(allow=["gemini-*", "gemma-4-??b"])
    for name in ("gemini-9.9-ultra", "gemma-4-31b"):
        model = catalog.resolve(name)
        assert (model.id, model.upstream_name("ai-studio"), model.upstream_name("gateway")) == (name,) * 3
    assert catalog.resolve("gemini-3.1-pro-preview").id == "gemini-3-1-pro"
    assert refusal(catalog, "GEMINI-9")[0] == "MODEL_UNKNOWN"
    assert refusal(catalog, "gemma-4-1b")[0] == "MODEL_UNKNOWN"


def test_allow_does_not_open_other_endpoints_models() -> None:
    assert refusal(changed(allow=["*"]), "gpt-5")[0] == "MODEL_NOT_ON_ENDPOINT"


def test_a_removed_model_is_unknown_by_all_its_names_whatever_allow_says() -> None:
    catalog = changed(remove=["gemini-2-5-pro"], allow=["*"])
    for name in ("gemini-2-5-pro", "gemini-2.5-pro", "databricks-gemini-2-5-pro", "system.ai.gemini-2-5-pro"):
        assert refusal(catalog, name)[0] == "MODEL_UNKNOWN"
    assert catalog.resolve("gemini-2.5-flash").id == "gemini-2-5-flash"


def test_an_operator_adds_a_model() -> None:
    catalog = changed(
        models={
            "gemini-3-8-flash": {
                "aliases": ["gemini-3.8-flash"],
                "upstream_names": {"ai-studio": "gemini-3.8-flash"},
                "shutdown": {"ai-studio": date(2030, 1, 2)},
            }
        }
    )
    for name in ("gemini-3-8-flash", "gemini-3.8-flash", "databricks-gemini-3-8-flash"):
        model = catalog.resolve(name)
        assert (model.id, model.upstream_name("ai-studio")) == ("gemini-3-8-flash", "gemini-3.8-flash")
        assert model.shutdown == {"ai-studio": date(2030, 1, 2)}


def test_an_operator_overrides_one_name_and_keeps_the_rest() -> None:
    model = changed(
        models={
            "gemini-2-5-pro": {"upstream_names": {"gateway": "databricks-gemini-2-5-pro"}, "aliases": ["pro"]}
        }
    ).resolve("pro")
    assert model.id == "gemini-2-5-pro"
    assert model.upstream_name("gateway") == "databricks-gemini-2-5-pro"
    assert model.upstream_name("ai-studio") == "gemini-2.5-pro"
    assert {"gemini-2.5-pro", "pro", "databricks-gemini-2-5-pro"} <= set(model.aliases)
    assert model.shutdown == {"ai-studio": date(2026, 12, 1)}


def test_a_model_that_an_operator_describes_is_on_the_endpoint() -> None:
    model = changed(models={"gemma-3-12b": {"upstream_names": {"ai-studio": "gemma-3-12b-it"}}}).resolve(
        "gemma-3-12b"
    )
    assert model.upstream_name("ai-studio") == "gemma-3-12b-it"


def test_removing_and_describing_a_model_replaces_it() -> None:
    catalog = changed(remove=["gemini-2-5-pro"], models={"gemini-2-5-pro": {}})
    assert catalog.resolve("gemini-2-5-pro").upstream_name("ai-studio") == "gemini-2-5-pro"
    assert refusal(catalog, "gemini-2.5-pro")[0] == "MODEL_UNKNOWN"


@pytest.mark.parametrize(
    ("models", "line"),
    [
        ({"a": {"aliases": ["x"]}, "b": {"aliases": ["x"]}}, "'x' names both a and b"),
        ({"a": {"aliases": ["gpt-5"]}}, "'gpt-5' names both gpt-5 and a"),
        ({"gemini-2.5-pro": {}}, "'gemini-2.5-pro' names both gemini-2-5-pro and gemini-2.5-pro"),
    ],
)
def test_a_name_claimed_twice(models: object, line: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        changed(models=models)
    assert str(caught.value) == f"catalog.models: {line}"


def test_removing_what_is_not_there() -> None:
    with pytest.raises(ConfigurationError) as caught:
        changed(remove=["gemini-2.5-pro"])
    assert str(caught.value) == "catalog.remove: no model of the catalog has the id 'gemini-2.5-pro'"


@pytest.mark.parametrize(
    ("today", "line"),
    [
        (date(2026, 10, 1), None),
        (date(2026, 10, 2), "gemini-2-5-pro will be shut down on ai-studio on 2026-12-01 (in 60 days)"),
        (date(2026, 11, 30), "gemini-2-5-pro will be shut down on ai-studio on 2026-12-01 (in 1 day)"),
        (date(2026, 12, 1), "gemini-2-5-pro was shut down on ai-studio on 2026-12-01"),
        (date(2027, 3, 1), "gemini-2-5-pro was shut down on ai-studio on 2026-12-01"),
    ],
)
def test_a_shutdown_is_told_from_60_days_before(catalog: Catalog, today: date, line: str | None) -> None:
    told = [line for line in catalog.shutdown_warnings(["ai-studio"], today) if "gemini-2-5-pro " in line]
    assert told == ([line] if line else [])


def test_a_shutdown_elsewhere_is_no_concern(catalog: Catalog) -> None:
    assert catalog.shutdown_warnings(["gateway", "simulated"], date(2040, 1, 1)) == []


def test_one_line_a_model_however_many_kinds() -> None:
    catalog = changed(models={"gemini-2-5-pro": {"shutdown": {"gateway": date(2026, 11, 1)}}})
    lines = catalog.shutdown_warnings(["gateway", "ai-studio", "gateway"], date(2026, 11, 22))
    assert (
        "gemini-2-5-pro will be shut down on ai-studio on 2026-12-01 (in 9 days)"
        " and was shut down on gateway on 2026-11-01"
    ) in lines
    assert sum("gemini-2-5-pro" in line for line in lines) == 1
