"""The catalogue: prices, order, and mistakes that name file, model and key."""

from pathlib import Path

import pytest

from services.chassis.settings import ConfigError
from services.router.catalogue import Catalogue, load_catalogue
from services.router.prices import ListPrice, MachinePrice, published_price
from tests.unit.router.parts import model, written

GOOD = """
models:
  - {name: big, context_tokens: 4096, default: true, price: {published: {provider: openai, model: gpt-4o}}}
  - name: small
    context_tokens: 512
    bytes_per_token: 1
    expected_output_tokens: 900
    price:
      machine:
        usd_per_hour: 3.6
        reference_seconds_per_million_input_tokens: 100
        reference_seconds_per_million_output_tokens: 1000
  - {name: unknown, context_tokens: 4096, domains: [law], supports_tools: true}
"""


def test_reads_every_kind_of_price(tmp_path: Path) -> None:
    """A published, a machine and an absent price load; models stand cheapest first, the unpriced last."""
    found = load_catalogue(written(tmp_path, GOOD))
    assert list(found.names) == ["small", "big", "unknown"]
    assert found.default.name == "big"
    assert isinstance(found["big"].price, ListPrice)
    assert isinstance(found["small"].price, MachinePrice)
    assert found["unknown"].cost_nano_usd(1000, 1000) is None
    assert found["unknown"].domains == ("law",)
    assert (found["small"].expected_output_tokens, found["big"].expected_output_tokens) == (900, None)


def test_costs_in_nano_dollars() -> None:
    """Costs follow the stated prices exactly; cached tokens cost their own price, or no machine time."""
    listed = ListPrice(2.0, 0.5, 2.5, 8.0)
    assert listed.cost_nano_usd(1000, 100, 0) == 1000 * 2_000 + 100 * 8_000
    assert listed.cost_nano_usd(1000, 100, 400) == 600 * 2_000 + 400 * 500 + 100 * 8_000
    machine = MachinePrice(3.6, 100, 1000)
    assert machine.cost_nano_usd(1000, 100, 0) == 200_000  # 0.2 s at 0.001 dollars a second
    assert machine.cost_nano_usd(1000, 100, 1000) == 100_000
    assert machine.seconds(1000, 100, 0) == pytest.approx(0.2)


def test_published_prices_are_looked_up_offline() -> None:
    """A model of the price library gets its own figures, its base tier where prices rise with length."""
    sonnet = published_price("anthropic", "claude-sonnet-4-5")
    assert (sonnet.input_usd_per_million_tokens, sonnet.output_usd_per_million_tokens) == (3.0, 15.0)
    assert sonnet.cached_input_usd_per_million_tokens == pytest.approx(0.3)
    assert sonnet.cache_write_usd_per_million_tokens == pytest.approx(3.75)


def test_cached_tokens_beyond_the_prompt_do_not_make_money() -> None:
    """No more tokens can be cached than the prompt has."""
    one = model("m", 1.0)
    assert one.cost_nano_usd(100, 0, 1000) == one.cost_nano_usd(100, 0, 100)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("default: true", "default: false", "default: true on none"),
        ("bytes_per_token: 1", "default: true", "default: true on small, big"),
        ("name: unknown", "name: big", "'big' twice"),
        ("context_tokens: 512", "context_tokens: -1", "model 'small': context_tokens: got -1"),
        ("usd_per_hour: 3.6", "usd_per_hour: cheap", "model 'small': price.machine.usd_per_hour: got 'cheap'"),
        ("usd_per_hour: 3.6", "usd_per_hour: .nan", "model 'small': price.machine.usd_per_hour: got nan"),
        ("usd_per_hour: 3.6", "usd_per_hour: 1.0e+308", "price.machine.usd_per_hour: got 1e+308"),
        ("usd_per_hour: 3.6", "usd_per_day: 3.6", "model 'small': price.machine.usd_per_"),
        ("model: gpt-4o", "model: gpt-nought", "model 'big': price: Unable to find model"),
        ("provider: openai", "provider: opeani", "model 'big': price: Unable to find provider"),
        ("{published: {provider: openai, model: gpt-4o}}", "{}", "model 'big': price: got 0 prices"),
        ("domains: [law]", "domain: law", "model 'unknown': domain: got an unknown key"),
        ("{name: unknown, context_tokens: 4096", "{name: unknown", "model 'unknown': context_tokens"),
        ("{name: unknown, context_tokens: 4096, domains: [law], supports_tools: true}", "law", "model 2"),
        ("models:", "modells:", "expected one key, models"),
        ("models:", "models: [", "is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """Every mistake is refused with the file, the model and the key it is in."""
    text = GOOD.replace(old, new)
    assert text != GOOD
    with pytest.raises(ConfigError) as caught:
        load_catalogue(written(tmp_path, text))
    assert "catalogue.yaml" in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A catalogue that is not there is named with its path."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_catalogue(tmp_path / "none.yaml")


def test_two_defaults_are_refused() -> None:
    """Only one model can be the strong one."""
    with pytest.raises(ValueError, match="a, b, expected it on exactly one"):
        Catalogue([model("a", 1, is_default=True), model("b", 2, is_default=True)])


def test_the_shipped_catalogue_loads() -> None:
    """The default catalogue has the reference models, both priced by machine time, the large one the default."""
    root = Path(__file__).parents[3]
    found = load_catalogue(root / "deploy" / "catalogue.yaml")
    assert list(found.names) == ["fulcrum-small", "fulcrum-large"]
    assert found.default.name == "fulcrum-large"
    assert all(isinstance(one.price, MachinePrice) for one in found.models)
