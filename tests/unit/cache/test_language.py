"""Similar answers are for the language that the encoder was trained on."""

from pathlib import Path

import pytest

from services.cache.decision import MissReason
from services.cache.language import is_english
from tests.unit.cache.parts import ask, embedding, keep, opened, reason


@pytest.mark.parametrize(
    "text",
    [
        "Wie lade ich meine Karte auf?",
        "¿Cómo puedo cancelar una suscripción?",
        "Pourquoi est-ce que mon virement est en attente ?",
        "如何充值我的卡",
        "Как пополнить карту?",
        "どうやってカードをチャージしますか",
    ],
)
def test_other_languages(text: str) -> None:
    """Other scripts, and other languages' most frequent words, give a prompt away."""
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "How do I top up my card?",
        "top up",
        "What does the French word 'pourquoi' mean?",
        "What is the capital of Côte d'Ivoire?",
        "Who is 金庸, the author?",
        "12 * 7",
    ],
)
def test_english_with_foreign_names(text: str) -> None:
    """A foreign name, word or no word at all leaves a prompt English."""
    assert is_english(text)


def test_no_similar_answer_in_another_language(tmp_path: Path) -> None:
    """The lookup says so, and the same text is still found."""
    german = "Wie lade ich meine Karte auf?"
    with opened(tmp_path) as cache:
        cache.store(keep("Wie lade ich die Karte auf?", embedding=embedding()))
        assert reason(cache.lookup(ask(german, embedding=embedding(0.99)))) is MissReason.LANGUAGE
        cache.store(keep(german, embedding=embedding(0.99)))
        assert reason(cache.lookup(ask(german, embedding=embedding(0.99)))) is None
