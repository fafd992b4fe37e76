"""Tells prompts that the encoder was trained on, English, so that no others get similar answers."""

import re

from services.cache.telling import tokens_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[^\W\d_]{2,}")  # a letter by itself is a symbol of any language
_PER_EVIDENCE = 12  # words, of which one at least is evidence
# Frequent in English and rare elsewhere. Not here: what is a word of another language as well, as is, in, to, for, do,
# can, a, i, or, an, me, on, at (all over Europe), of, been, had (Dutch), have, time, send (Danish), her (Turkish),
# die, was (German), has (Spanish), are, am (Romanian), and what many have borrowed, as timer or transfer.
_ENGLISH = _words(
    "the and my how what why when where which who whom whose does did you your yours from with this that it "
    "there would should could not be if don isn doesn didn won they their she his them these those because about "
    "after before while than then our we us ours him its whats please any anyone anything some someone something many "
    "much most more other another every never ever really still up out off into through during by being were "
    "wasn shall cannot let lets just now today tomorrow yesterday later next first third last again away back down "
    "around between both each few such only get give gets make made take tell show need want know think like look see "
    "say said says speak talk ask call play watch read write buy sell pay paid put turn set go going went coming keep "
    "use used using work works working love live eat feel try become prefer learn create switch change cancel remove "
    "delete add check close run move book spell suggest explain describe schedule remind wake happen happened happens "
    "exist mean means cause believe worth better best good bad great new old safe right wrong true free different "
    "available healthy dangerous illegal considered required related people person women woman girls girl boys boy "
    "guys friend friends kids children world country money card phone number payment balance fee fees order name "
    "question answer meeting reminder reminders flight travel trip weather food recipe dinner house home college "
    "university life year years month months weeks day days hour hours minute minutes night morning thanks thank yes "
    "hello bye okay sure one two three four five seven eight nine ten music songs game games movie movies language "
    "voice english indian american chinese settings whisper exchange history engineering health business company "
    "black white blue too very all as well dice roll coin flip heads high low short big small degree programming "
    "useful fly dead famous popular overrated fake smart strong rich poor young easy hard hot cold harmful enough "
    "fuel oil milk lemon eggs rice cheese butter sugar instead goodbye clue facts joke jokes visit nice beautiful "
    "yearly salary drive near noticed withdraw charged declined refund item receive request pending cancelling "
    "confirm convert abort submit substitute translate define pick grow kill win lose fix join drink sleep walk wear "
    "hate enjoy study teach government president election tax vote law space light earth sun moon indians muslims "
    "americans truth proof evidence difference reason reasons ways tips harder easier bigger faster without within "
    "against across under over earn phones "
    "opposite numeral numerals alphabetise alphabetize backwards letters pounds ounces miles feet inches reverse "
    "compute calculate times chemical litres millilitres metres kilometres kilograms grams tonnes seconds "
)
# Frequent words of other languages that are no English words, as far as they are written without accents.
_OTHERS = _words(
    "der das und ist nicht ein eine einen ich wie wo warum mein meine auf wird mit zu kann den dem sie von "  # German
    "le les des est une je comment pourquoi mon ma dans pour avec qui quel quelle sur ne pas du et mes votre "  # French
    "para puedo como una el del mi en por que con se su cual "  # Spanish
    "il gli di perch dove quanto posso mio mia la come della sul che non del un "  # Italian
    "os uma meu minha onde quando eu um da na fazer "  # Portuguese
    "het een waarom waar hoe mijn niet wat voor ik de van op dit wordt naar "  # Dutch
    "hur jag mitt kan hvordan jeg hvad hva er det ett att och og inte ikke som til vad varf hvorfor med "  # Nordic
    "jak nie jest na czy moje mog dlaczego gdzie co je se proc kde z w mnie moja "  # Polish, Czech
    "bir ve bu ne neden icin nasil mi nerede benim olarak kadar "  # Turkish
    "yang saya bagaimana cara apa tidak dengan ini untuk di ke dari bisa kenapa mengapa itu ada dan "  # Indonesian
    "toi cua lam sao khong nao cho tai nhu la gi duoc "  # Vietnamese
    "cum nu este sa unde ce hogyan nem egy az hol miten ja ei voin kuinka ang ng paano ko wa kwa "
)
# Such words where two together are English.
_PAIRS = re.compile(
    r"\b(?:(?:can|do|will|have|am|is|may) i|i (?:m|am|was|have|ve|d|ll|can|do|will|haven|had)|i['’](?:m|ve|d|ll)|"
    r"(?:is|of|for|to|in|have|has|as) an?|(?:is|of|to|in|for|on) his|have been|(?:for|to|give|tell) me|of all|"
    r"(?:do|are) (?:i|we|not)|to (?:do|be|have|go)|\d+ \w+ to|(?:capital|symbol|continent) of)\b"
    r"|[^\W\d_]{2}['’]s (?=[^\W\d_])"
    r"|^(?:is|are|was|has|can|do|will) \w+ (?:\w+ )?(?:an?|or|for|to|of|on|as)\b"
)
_LAST_LATIN = 0x24F
_FOREIGN_LETTERS = 0.2  # of all letters: a name or a symbol may be foreign


def is_english(text: str) -> bool:
    """Whether words speak for it, or there are none: enough English ones, and more than foreign ones.

    A text that holds neither is taken for another language: it is not answered by a similar prompt, which is safe.
    """
    text = text[:2000]
    if text.isascii():
        tokens = tokens_of(text)[1]  # which the sketch asks for as well
        # so it is by its words too, as all tokens are more than these and English ones count once here
        if len(_ENGLISH.intersection(tokens)) * _PER_EVIDENCE >= len(tokens) and _OTHERS.isdisjoint(tokens):
            return True
        words = [word for word in tokens if len(word) > 1 and word[0].isalpha()]
    else:
        letters = [character for character in text if character.isalpha()]
        foreign = sum(ord(character) > _LAST_LATIN for character in letters)
        if foreign > _FOREIGN_LETTERS * len(letters):
            return False
        words = _WORD.findall(text.lower())
    english, enough = len([word for word in words if word in _ENGLISH]), len(words) / _PER_EVIDENCE
    english += _PAIRS.search(text.lower()) is not None
    others = sum(word in _OTHERS or not word.isascii() for word in words)
    return english >= max(others + (others > 0), enough)
