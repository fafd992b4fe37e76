"""Published versions take the place of what serves, by one rename, and go back the way they came."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.chassis.settings import ConfigError
from services.router.artefact import load_artefact
from services.router.versions import Versions
from tests.unit.router.parts import artefact


def fitted(folder: Path, seed: int) -> Path:
    path = folder / f"fitted-{seed}.safetensors"
    artefact(seed=seed).save(path)
    return path


def serves(path: Path) -> str:
    return load_artefact(path).version


def test_what_was_published_last_serves_and_one_command_goes_back(tmp_path: Path) -> None:
    """A file put there by hand is kept when the first is published, and is what a rollback ends with."""
    serving = tmp_path / "router.safetensors"
    artefact(seed=0).save(serving)
    made = [serves(serving), *(serves(fitted(tmp_path, seed)) for seed in (1, 2))]
    versions = Versions(serving)
    assert [versions.publish(fitted(tmp_path, seed)).number for seed in (1, 2)] == [2, 3]
    assert serves(serving) == made[2]
    assert versions.rollback("large").number == 2
    assert serves(serving) == made[1]
    assert versions.rollback("large").number == 1
    assert serves(serving) == made[0]
    assert [(one.number, one.serves, one.withdrawn) for one in versions.listed()] == [
        (1, True, False),
        (2, False, True),
        (3, False, True),
    ]


def test_what_was_withdrawn_is_not_gone_back_to(tmp_path: Path) -> None:
    """After 2 was withdrawn and 3 published, a rollback serves 1; what comes back on purpose is a new version."""
    serving = tmp_path / "router.safetensors"
    versions = Versions(serving)
    for seed in (0, 1):
        versions.publish(fitted(tmp_path, seed))
    versions.rollback("large")
    assert versions.publish(fitted(tmp_path, 2)).number == 3
    assert versions.rollback("large").number == 1
    with pytest.raises(ConfigError, match="was withdrawn by a rollback, as version 3, expected another, or `publish"):
        versions.publish(fitted(tmp_path, 2))
    assert serves(serving) == serves(fitted(tmp_path, 0))
    assert sorted(path.name for path in versions._folder.glob(".new")) == []
    again = fitted(tmp_path, 2)
    assert versions.publish(again, versions.expect_another(again, again=True)).number == 4
    assert versions.publish(fitted(tmp_path, 0)).number == 5
    assert [one.number for one in versions.listed() if one.serves] == [5]
    assert versions.publish(again).number == 6  # it came back, and was not withdrawn since


def test_what_is_withdrawn_while_it_is_judged_does_not_serve(tmp_path: Path) -> None:
    """Somebody else published the same file meanwhile, and went back."""
    serving, new = tmp_path / "router.safetensors", fitted(tmp_path, 1)
    versions = Versions(serving)
    versions.publish(fitted(tmp_path, 0))
    judged = versions.expect_another(new)
    versions.publish(new)
    versions.rollback("large")
    with pytest.raises(ConfigError, match="was withdrawn by a rollback, as version 2"):
        versions.publish(new, judged)


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_serves_is_not_published_again(tmp_path: Path, by_hand: bool) -> None:
    """It would change nothing, and a rollback from it neither, though both would say so."""
    serving, path = tmp_path / "router.safetensors", fitted(tmp_path, 0)
    versions = Versions(serving)
    if by_hand:
        serving.write_bytes(path.read_bytes())
    else:
        versions.publish(path)
    with pytest.raises(ConfigError, match="serves already, as " + ("[0-9a-f]{12}" if by_hand else "version 1")):
        versions.publish(path)
    assert len(versions.listed()) == (0 if by_hand else 1)


@pytest.mark.parametrize("changed", ["the new", "what serves"])
def test_only_what_was_judged_is_published(tmp_path: Path, changed: str) -> None:
    """A file that was replaced after it was judged, or against another than serves by now, changes nothing."""
    serving, new = tmp_path / "router.safetensors", fitted(tmp_path, 1)
    versions = Versions(serving)
    versions.publish(fitted(tmp_path, 0))
    judged = versions.expect_another(new)
    artefact(seed=2).save(new if changed == "the new" else serving)
    now = serves(serving)
    with pytest.raises(ConfigError, match=f"{new if changed == 'the new' else serving}: was replaced meanwhile"):
        versions.publish(new, judged)
    assert serves(serving) == now
    assert len(versions.listed()) == 1


def test_publishers_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """Each of eight either is a version of its own, all of whose bytes it holds, or is told that another was first."""
    serving, made = tmp_path / "router.safetensors", [fitted(tmp_path, seed) for seed in range(8)]

    def publish(new: Path) -> int:
        try:
            return Versions(serving).publish(new).number
        except ConfigError as error:
            return 0 if "was replaced meanwhile" in str(error) else -1

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(publish, made))
    assert min(found) >= 0
    numbers = sorted(filter(None, found))
    listed = Versions(serving).listed()
    assert [one.number for one in listed] == numbers == list(range(1, len(numbers) + 1))
    assert [serves(one.path) for one in listed] == [serves(made[found.index(number)]) for number in numbers]
    assert [one.number for one in listed if one.serves] == numbers[-1:]


def test_a_rollback_passes_over_what_cannot_be_read(tmp_path: Path) -> None:
    """What serves stays where nothing before it can be read."""
    serving = tmp_path / "router.safetensors"
    versions = Versions(serving)
    made = [versions.publish(fitted(tmp_path, seed)) for seed in (0, 1, 2)]
    made[1].path.write_bytes(b"of another format")
    now = serves(serving)
    made[0].path.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="no version before can be used"):
        versions.rollback("large")
    assert serves(serving) == now
    (tmp_path / "elsewhere").rename(made[0].path)
    assert versions.rollback("large").number == 1
    assert serves(serving) == serves(fitted(tmp_path, 0))


def test_a_version_of_another_default_model_is_passed_over(tmp_path: Path) -> None:
    """The catalogue's strong model may have changed since: the server would not use such a version."""
    versions = Versions(tmp_path / "router.safetensors")
    other = tmp_path / "other.safetensors"
    artefact(default_model="middle").save(other)
    for path in (fitted(tmp_path, 0), other, fitted(tmp_path, 1)):
        versions.publish(path)
    assert versions.rollback("large").number == 1
    with pytest.raises(ConfigError, match="is the first"):
        versions.rollback("large")


def test_where_there_is_nothing_before(tmp_path: Path) -> None:
    """The first, and a file that nobody published, stay, and it is said why."""
    serving = tmp_path / "router.safetensors"
    artefact().save(serving)
    with pytest.raises(ConfigError, match="put there by hand"):
        Versions(serving).rollback("large")
    serving.unlink()
    Versions(serving).publish(fitted(tmp_path, 1))
    with pytest.raises(ConfigError, match="version 1 is the first"):
        Versions(serving).rollback("large")
    assert serves(serving) == serves(fitted(tmp_path, 1))
    with pytest.raises(ConfigError, match="no-such-file"):
        Versions(serving).publish(tmp_path / "no-such-file")
