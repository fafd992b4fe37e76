"""Options spelled one letter each are put together again, and nothing else is touched."""

import pytest

from services.router.spelled import mended

OPTIONS = ["the first, it's long", 'a "second" one']


def spelled(text: str) -> str:
    return "Which?" + "".join(f"\n{chr(65 + place)}. {letter}" for place, letter in enumerate(text))


def test_spelled_options_are_mended() -> None:
    """The text of a list, one letter an option, becomes its options."""
    assert mended(spelled(repr(OPTIONS))) == f"Which?\nA. {OPTIONS[0]}\nB. {OPTIONS[1]}"


@pytest.mark.parametrize(
    "prompt",
    [
        "Which?\nA. 1\nB. 2",
        "no options",
        spelled("[not a list at all, whatever it is]"),
        spelled(repr(list(range(30)))),
    ],
)
def test_other_prompts_are_left_alone(prompt: str) -> None:
    """Options of one letter, prompts without any and letters that write no list of texts stay as they are."""
    assert mended(prompt) == prompt
