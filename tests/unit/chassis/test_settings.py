"""Settings: the file, the environment over it, and mistakes that name key, value and expectation."""

from pathlib import Path

import pytest
from pydantic import Field

from services.chassis.channel import BackendSettings
from services.chassis.settings import ConfigError, Section, ServerSettings, load, read_file, refuse_unknown


class HouseSettings(Section, section="house"):
    """A section with every shape that the services use."""

    name: str = Field("cottage", description="what it is called")
    rooms: int = Field(3, ge=1, le=99, description="how many rooms")
    heat_c: float | None = Field(None, description="degrees; unset means unheated")
    tags: tuple[str, ...] = Field((), description="words for it")
    door: BackendSettings = Field(BackendSettings(timeout_s=2.0), description="where it is reached")
    shed: BackendSettings | None = Field(BackendSettings(timeout_s=4.0), description="where tools are; null for none")
    guests: dict[str, BackendSettings] = Field({}, description="by name")


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def house(folder: Path, text: str) -> HouseSettings:
    return load(HouseSettings, read_file(written(folder, text)))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FULCRUM_HOUSE__ROOMS", raising=False)


def test_defaults_without_a_file() -> None:
    """Nothing needs to be set."""
    found = load(HouseSettings, read_file(None))
    assert (found.name, found.rooms, found.heat_c, found.door.timeout_s) == ("cottage", 3, None, 2.0)


def test_a_file_sets_keys(tmp_path: Path) -> None:
    """Keys of the section are taken from the file, nested ones too; other sections are left alone."""
    found = house(tmp_path, "house: {rooms: 4, tags: [red, old], door: {address: 'h:1'}}\nother: {x: 1}\nempty:\n")
    assert (found.rooms, found.tags, found.door.address) == (4, ("red", "old"), "h:1")


def test_settings_are_frozen() -> None:
    """Settings cannot change once read."""
    with pytest.raises(ValueError, match="frozen"):
        load(HouseSettings, {}).rooms = 5  # type: ignore[misc]


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces a key of the file, a nested one that key alone; others stay as the file has them."""
    monkeypatch.setenv("FULCRUM_HOUSE__ROOMS", "7")
    monkeypatch.setenv("FULCRUM_HOUSE__DOOR__TIMEOUT_S", "9")
    monkeypatch.setenv("FULCRUM_HOUSE__TAGS", '["new"]')
    found = house(tmp_path, "house: {rooms: 4, name: hut, tags: [red], door: {address: 'h:1', timeout_s: 5}}")
    assert (found.rooms, found.name, found.tags) == (7, "hut", ("new",))
    assert (found.door.address, found.door.timeout_s) == ("h:1", 9.0)


def test_a_part_of_a_nested_value_leaves_the_rest_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting only a backend's address keeps the timeout that this very backend has by default."""
    assert house(tmp_path, "house: {door: {address: 'h:1'}}").door == BackendSettings(address="h:1", timeout_s=2.0)
    assert house(tmp_path, "house: {shed: null}").shed is None
    monkeypatch.setenv("FULCRUM_HOUSE__DOOR__ADDRESS", "h:2")
    assert house(tmp_path, "").door == BackendSettings(address="h:2", timeout_s=2.0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("house: {roms: 4}", ["house.roms", "unknown key", "name, rooms, heat_c, tags, door, shed, guests"]),
        ("house: {rooms: many}", ["house.rooms", "FULCRUM_HOUSE__ROOMS", "'many'", "valid integer"]),
        ("house: {rooms: 100}", ["house.rooms", "100", "less than or equal to 99"]),
        ("house: {rooms: [1]}", ["house.rooms", "[1]", "integer"]),
        ("house: {name: 3}", ["house.name", "3", "string"]),
        ("house: {door: {timeout_s: -1}}", ["house.door.timeout_s", "FULCRUM_HOUSE__DOOR__TIMEOUT_S", "-1", "than 0"]),
        ("house: {door: {adress: x}}", ["house.door.adress", "unknown key", "address, timeout_s"]),
        ("house: {shed: {adress: x}}", ["house.shed.adress", "unknown key", "address, timeout_s"]),
        ("house: {guests: {ann: {adress: x}}}", ["house.guests.ann.adress", "unknown key"]),
        ("house: {guests: {ann: 3}}", ["house.guests.ann", "3", "dictionary"]),
        ("house: {door: x}", ["house.door", "'x'", "dictionary"]),
        ("house: {8080: x}", ["house.8080", "unknown key"]),
        ("house: 3", ["house", "3", "keys"]),
        ("house: [rooms]", ["house", "['rooms']", "keys"]),
        ("- house", ["list", "sections"]),
        ("house: {rooms: 4", ["not YAML"]),
    ],
)
def test_a_mistake_in_the_file_is_explained(tmp_path: Path, text: str, parts: list[str]) -> None:
    """The message names the key, its variable, what was found and what was expected."""
    with pytest.raises(ConfigError) as caught:
        house(tmp_path, text)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_every_mistake_is_explained_at_once(tmp_path: Path) -> None:
    """Two wrong keys are two lines, so that nobody has to start twice."""
    with pytest.raises(ConfigError) as caught:
        house(tmp_path, "house: {rooms: 0, colour: red}")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("FULCRUM_HOUSE__ROOMS", "many", ["house.rooms", "FULCRUM_HOUSE__ROOMS", "'many'", "valid integer"]),
        ("FULCRUM_HOUSE__DOOR", "h:1", ["house.door", "FULCRUM_HOUSE__DOOR", "'h:1'", "dictionary"]),
        ("FULCRUM_HOUSE__TAGS", "red", ["house.tags", "FULCRUM_HOUSE__TAGS", "'red'", "tuple"]),
        ("FULCRUM_HOUSE__ROMS", "4", ["FULCRUM_HOUSE__ROMS", "unknown", "name, rooms, heat_c, tags"]),
        ("FULCRUM_HOUSE__DOOR__ADRESS", "h:1", ["house.door.adress", "unknown key"]),
    ],
)
def test_a_mistake_in_the_environment_is_explained(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, parts: list[str]
) -> None:
    """A variable that cannot be used is refused like a key of the file, never swallowed."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load(HouseSettings, {})
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are explained, not a traceback."""
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(ConfigError, match=str(path)):
            read_file(path)


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    """A section that no service reads is a mistake, such as a misspelt name."""
    sections = read_file(written(tmp_path, "hose: {rooms: 4}\nserver: {port: 0}\n"))
    with pytest.raises(ConfigError, match=r"hose: unknown section, expected one of server, house"):
        refuse_unknown(sections, (ServerSettings, HouseSettings))
    refuse_unknown({"server": {}, "house": {}}, (ServerSettings, HouseSettings))


def test_sections_do_not_read_each_others_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """One section's variable is not another's."""
    monkeypatch.setenv("FULCRUM_SERVER__PORT", "1234")
    assert load(ServerSettings, {}).port == 1234
    assert load(HouseSettings, {}).rooms == 3
