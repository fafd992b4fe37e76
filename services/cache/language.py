"""Tells prompts that the encoder was not trained on, so that they get no similar answers: anything but English."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = _words(
    "the of and to a in is it you that for on are with as at this have from or by what how do does can i my when where "
    "who why which will be not your we me if"
)
# Frequent words of German, French, Spanish, Italian, Portuguese and Dutch that are no English words.
_OTHERS = _words(
    "der das und ist nicht ein eine ich wie wo warum mein meine auf für wird "
    "le est une je comment pourquoi où mon dans pour avec qui quel quelle "
    "cómo por qué dónde en para puedo cuál como una "
    "il gli è che di perché dove quanto posso mio mia "
    "os uma não meu minha onde quando eu são "
    "het een waarom waar hoe mijn niet wat voor"
)
_LAST_LATIN = 0x24F
_FOREIGN_LETTERS = 0.2  # of all letters: a name or a symbol may be foreign


def is_english(text: str) -> bool:
    """Whether nothing speaks against it: letters of another script, or other languages' words outnumbering English."""
    if not text.isascii():
        letters = [character for character in text if character.isalpha()]
        foreign = sum(ord(character) > _LAST_LATIN for character in letters)
        if foreign > _FOREIGN_LETTERS * len(letters):
            return False
    words = _WORD.findall(text[:2000].lower())
    if _OTHERS.isdisjoint(words):
        return True
    others = len([word for word in words if word in _OTHERS])
    return others < 2 or others <= len([word for word in words if word in _ENGLISH])
