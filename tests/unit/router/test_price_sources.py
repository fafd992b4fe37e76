"""Where prices come from: the catalogue, the file that overrides it, published prices by name; long prompts' tiers."""

from pathlib import Path
from typing import Any

import genai_prices
import pytest
from fulcrum.router.v1 import router_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.chassis.settings import ConfigError
from services.cli.model_tables import models_table
from services.edge.chat import Usage
from services.edge.messages import catalogue_model
from services.edge.price import ListPrice as EdgePrice
from services.router.catalogue import load_catalogue
from services.router.prices import ListPrice, MachinePrice, PriceTier, published_price
from services.router.router import load_router
from services.router.service import RouterServicer, _catalogue_model
from services.router.settings import RouterSettings
from tests.unit.router.parts import model, written

CATALOGUE = """
models:
  - {name: gpt-4o-mini, context_tokens: 128000, default: true}
  - {name: house-model, context_tokens: 4096}
  - name: mini
    context_tokens: 4096
    price:
      list:
        input_usd_per_million_tokens: 1
        cached_input_usd_per_million_tokens: 1
        cache_write_usd_per_million_tokens: 1
        output_usd_per_million_tokens: 1
"""
OVERRIDES = """
mini:
  machine:
    usd_per_hour: 3.6
    reference_seconds_per_million_input_tokens: 1
    reference_seconds_per_million_output_tokens: 2
gpt-4o-mini: null
house-model:
  published: {provider: anthropic, model: claude-sonnet-4-5}
"""


def files(folder: Path, overrides: str, catalogue: str = CATALOGUE) -> tuple[Path, Path]:
    (folder / "prices.yaml").write_text(overrides)
    return written(folder, catalogue), folder / "prices.yaml"


def test_a_model_is_priced_by_its_name(tmp_path: Path) -> None:
    """A model without a price gets the published one of that name, and whose it is is logged; others stay unpriced."""
    with capture_logs() as logs:
        found = load_catalogue(written(tmp_path, CATALOGUE))
    assert [(one["model"], one["provider"]) for one in logs] == [("gpt-4o-mini", "openai")]
    assert found["gpt-4o-mini"].price == published_price("openai", "gpt-4o-mini")
    assert found["house-model"].price is None


def test_a_provider_narrows_the_name(tmp_path: Path) -> None:
    """A named provider's own price is taken; one that does not publish the model is a mistake that is explained."""
    entry = "{name: house-model, context_tokens: 4096"
    named = CATALOGUE.replace(entry, "{name: gpt-oss-120b, provider: cerebras, context_tokens: 4096")
    found = load_catalogue(written(tmp_path, named))["gpt-oss-120b"].price
    assert found == published_price("cerebras", "gpt-oss-120b") != published_price(None, "gpt-oss-120b")
    with pytest.raises(ConfigError, match="model 'house-model': price: Unable to find model"):
        load_catalogue(written(tmp_path, CATALOGUE.replace(entry, f"{entry}, provider: openai")))


@pytest.mark.parametrize(
    ("name", "publisher"),
    [
        ("gemini-1.5-flash-distilled", None),
        ("deepseek-chat-selfhosted", None),
        ("my-gpt-4o", None),
        ("gpt-4o-2024-08-06", "openai"),
        ("claude-sonnet-4-20250514", "anthropic"),
        ("claude-3-5-sonnet-latest", "anthropic"),
        ("GPT-4o-mini", "openai"),
    ],
)
def test_another_name_is_another_model(tmp_path: Path, name: str, publisher: str | None) -> None:
    """A name that only begins like, or holds, a published one has no published price; one with a date has."""
    with capture_logs() as logs:
        found = load_catalogue(written(tmp_path, CATALOGUE.replace("house-model", name)))
    assert (found[name].price is not None) == (publisher is not None)
    assert [one["provider"] for one in logs if one["model"] == name] == ([publisher] if publisher else [])
    if publisher is None:
        with pytest.raises(ConfigError, match="Unable to find model"):
            load_catalogue(*files(tmp_path, OVERRIDES.replace("claude-sonnet-4-5", name)))


def test_the_file_wins(tmp_path: Path) -> None:
    """Each kind of price, and none at all, replaces what the catalogue says or what is published."""
    found = load_catalogue(*files(tmp_path, OVERRIDES))
    assert found["mini"].price == MachinePrice(3.6, 1, 2)
    assert found["gpt-4o-mini"].price is None
    assert found["house-model"].price == published_price("anthropic", "claude-sonnet-4-5")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mini:", "minny:", "model 'minny': not in the catalogue, expected one of gpt-4o-mini, house-model, mini"),
        ("usd_per_hour: 3.6", "usd_per_hour: -1", "model 'mini': machine.usd_per_hour: got -1, expected: Input should"),
        ("usd_per_hour: 3.6", "usd_per_day: 3.6", "model 'mini': machine.usd_per_"),
        ("machine:", "machin:", "model 'mini': machin: got an unknown key"),
        ("claude-sonnet-4-5", "claude-nought", "model 'house-model': price: Unable to find model"),
        (OVERRIDES, "- mini", "got list, expected model names"),
        (OVERRIDES, "mini: 3", "model 'mini': price: got 3, expected:"),
        (OVERRIDES, "mini: {}", "model 'mini': price: got 0 prices, expected exactly one"),
        (OVERRIDES, "mini: [", "is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """Every mistake is refused with the file, the model, the key, the value and what was expected."""
    text = OVERRIDES.replace(old, new, 1)
    assert text != OVERRIDES
    with pytest.raises(ConfigError) as caught:
        load_catalogue(*files(tmp_path, text))
    assert "prices.yaml: " in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A price file that is not there is named with its path."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_catalogue(written(tmp_path, CATALOGUE), tmp_path / "none.yaml")


def test_the_unpriced_are_told_once(tmp_path: Path) -> None:
    """One line names every unpriced model and what to do; where all are priced there is none."""
    catalogue, prices = files(tmp_path, "gpt-4o-mini: null")
    with capture_logs() as logs:
        load_router(RouterSettings(catalogue=catalogue, prices=prices, predictor=None))
    (line,) = [one for one in logs if "models" in one]
    assert line["log_level"] == "warning"
    assert sorted(line["models"]) == ["gpt-4o-mini", "house-model"]
    assert "router.prices" in line["remedy"]
    with capture_logs() as logs:
        load_router(RouterSettings(catalogue=Path("deploy/catalogue.yaml"), predictor=None))
    assert not [one for one in logs if "models" in one]


SONNET = published_price("anthropic", "claude-sonnet-4-5")
TIERED = ListPrice(1, 0.1, 1.25, 5, (PriceTier(300, 4, 0.4, 5, 20), PriceTier(100, 2, 0.2, 2.5, 10)))


def test_long_prompts_cost_their_tier() -> None:
    """Beyond a threshold all tokens cost the tier's price, the highest that applies, in whatever order they stand."""
    assert TIERED.cost_nano_usd(100, 10, 0) == (100 * 1 + 10 * 5) * 1000
    assert TIERED.cost_nano_usd(101, 10, 1) == round((100 * 2 + 0.2 + 10 * 10) * 1000)
    assert TIERED.cost_nano_usd(301, 10, 0) == (301 * 4 + 10 * 20) * 1000


counts = st.integers(0, 1_000_000)


@given(counts, counts, counts, counts)
def test_a_receipt_is_what_the_library_bills(fresh: int, cached: int, written_: int, output: int) -> None:
    """The router's price, sent to edge over the contract, comes to the library's own price of the same usage."""
    price = catalogue_model(_message(SONNET)).price
    assert isinstance(price, EdgePrice)
    whole = fresh + cached + written_
    ours = price.with_prefix_reuse(Usage(whole, cached, written_, output))
    usage = genai_prices.Usage(
        input_tokens=whole, cache_read_tokens=cached, cache_write_tokens=written_, output_tokens=output
    )
    theirs = genai_prices.calc_price(usage, "claude-sonnet-4-5", provider_id="anthropic").total_price
    assert ours == pytest.approx(float(theirs) * 1e9, rel=1e-9, abs=1)


@given(counts, counts)
def test_router_and_edge_agree(input_tokens: int, output: int) -> None:
    """What the router expects an answer to cost is what edge bills for those tokens."""
    price = catalogue_model(_message(TIERED)).price
    assert isinstance(price, EdgePrice)
    expected = TIERED.cost_nano_usd(input_tokens, output, 0)
    assert price.full(Usage(input_tokens, output_tokens=output)) == pytest.approx(expected, abs=1)


def _message(price: ListPrice) -> Any:
    return _catalogue_model(model("m", None, price=price))


def test_prices_by_the_hour_take_the_dearest() -> None:
    """A model that is cheaper at night is priced as by day, at whatever hour the router starts."""
    found = published_price("deepseek", "deepseek-chat")
    snapshot = genai_prices.data_snapshot.get_snapshot()
    _, info = snapshot.find_provider_model("deepseek-chat", None, "deepseek", None)
    assert isinstance(info.prices, list)
    stated = [float(str(one.prices.input_mtok)) for one in info.prices]
    assert len(set(stated)) > 1
    assert found.input_usd_per_million_tokens == max(stated)


async def test_fulcrum_models_shows_them(tmp_path: Path) -> None:
    """The table shows list prices, that longer prompts cost more, an hour's price, and what is unpriced."""
    servicer = RouterServicer()
    catalogue, prices = files(tmp_path, OVERRIDES)
    servicer.open(load_router(RouterSettings(catalogue=catalogue, prices=prices, predictor=None)))
    listed = await servicer.ListModels(pb.ListModelsRequest(), None)
    table = models_table(listed.models, [])
    shown = dict(zip(table.columns[0].cells, table.columns[-1].cells, strict=True))
    assert shown["gpt-4o-mini (strong)"] == "unpriced"
    assert shown["mini"] == "$3.6 an hour"
    assert shown["house-model"] == "$3 in, $15 out per M tokens, more above 200,000 tokens"
    await servicer.close()
