"""The words that vetoes may overlook, merge or move; what is not listed must be the same in both prompts."""

import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What people say before a question.
POLITE = re.compile(
    r"(?:(?:hi|hello|hey|ok|okay|please|kindly|quick question|thanks|thank you)\b[ ,:;.!-]*)*"
    r"(?:(?:can|could|would|will) you (?:please |kindly )?)?"
    r"(?:(?:tell|give|show) (?:me )?|let me know |do you know |i(?: would|'d) like to know |i want to know "
    r"|i need to know |name )?",
    re.IGNORECASE,
)

COURTEOUS = _words("hi hello hey ok okay please kindly quick thanks thank tell give show name")  # it begins with these
TO_SOMEBODY = _words("you know")  # or holds one of these

# Carry grammar, not meaning. Left out on purpose, since each of them alone can turn an answer: from, by, with, without,
# about, after, before, than, on, off, not, any, all, only, just, was, did, had, can, will, would, should, me, you,
# your, he, she.
STOP = _words(
    "a an the of is are am be been do does has have what which that it its there "
    "i my we our please really exactly actually now currently kindly s"
)
# Those of them that say for whom somebody asks, alone or with others: "my plan", "our plan".
ALONE, TOGETHER = _words("i my"), _words("we our")
# Say which way or in what part, and tell as much as any word ("a flight to Oslo", "in Oslo"), except in a conversion.
DIRECTIONS = _words("for in into to as at")
NEGATIONS = _words("not no never without nor none neither nobody nothing nowhere hardly")
# Ask for different things about the same words.
QUESTIONS = _words("who whom whose when where why how")
OPEN = _words("what which")
# Before a subject it tells what was from what is: "have I paid", "am I paid".
HAVE = _words("have has")
# First words of a question that is answered by yes or no.
POLAR = _words("is are am was were do does did has have had can could will would should may might must")

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: Mapping[str, str] = {word: str(value) for value, word in enumerate(_NUMBERS.split())}
MONTHS = _words("january february march april may june july august september october november december")

_UNITS = (
    "km kilometre kilometres kilometer kilometers", "m metre metres meter meters",
    "cm centimetre centimetres centimeter centimeters", "mm millimetre millimetres millimeter millimeters",
    "mi mile miles", "ft foot feet", "inch inches", "kg kilogram kilograms kilo kilos", "g gram grams",
    "mg milligram milligrams", "t tonne tonnes", "lb lbs pound pounds", "oz ounce ounces",
    "l litre litres liter liters", "ml millilitre millilitres milliliter milliliters", "gal gallon gallons",
    "s sec secs second seconds", "min mins minute minutes", "h hr hrs hour hours", "d day days", "wk week weeks",
    "mo month months", "yr year years", "celsius", "fahrenheit",
)  # fmt: skip
UNITS: Mapping[str, str] = {word: names.split()[0] for names in _UNITS for word in names.split()}
# All that may stand beside "5 km" and "m" in a conversion.
CONVERSION_WORDS = _words("convert converted express turn change give many much how make makes")

SYNONYMS: Mapping[str, str] = {
    "antonym": "opposite", "backwards": "reverse", "backward": "reverse", "reversed": "reverse", "flip": "reverse",
    "alphabetise": "sort", "alphabetize": "sort", "alphabetically": "sort", "sorted": "sort",
}  # fmt: skip
# Relations whose place beside their argument says nothing: "Kenya's capital", "the capital of Kenya".
RELATIONS = frozenset({"capital", "symbol", "opposite", "reverse", "sort", "numeral"})

# Longer wordings of the same thing: a prompt with one of the words in front of a row is rewritten by it, in this order.
# What a row writes is no word in front of a later one. With + another word must be there as well.
_REWORDINGS = (
    ("how+do how+does how+can how+could how+would",
     r"\bhow (?:do|does|can|could|would) (?=(?:i|we|you|one)\b)", "how "),
    ("t+can", r"\bcan't\b", "can not"),
    ("cannot", r"\bcannot\b", "can not"),
    ("t+won", r"\bwon't\b", "will not"),
    ("t", r"n't\b", " not"),
    ("m", r"(?<=\w)'m\b", " am"),
    ("re", r"(?<=\w)'re\b", " are"),
    ("d ll", r"(?<=\w)'(?:d|ll)\b", ""),
    ("s", r"\b(what|who|where|when|how|it|that|there)'s\b(?! been\b)", r"\1 is"),
    ("s", r"\b(\w+)'s (?!been\b)(\w+)(?=\W*$)", r"\2 of \1"),
    ("have+to", r"\bhave to\b", "must"),
    ("has+to", r"\bhas to\b", "must"),
    ("ve", r"(?<=\w)'ve\b", " have"),
    ("been", r"(?<=\w)'s (?=been\b)", " has "),
    ("spell", r"\bhow (?:you|i|we)(?= spell\b)", ""),
    ("write", r"\bhow (?:you|i|we)(?= write\b)", ""),
    ("get+what", r"\bwhat do you get (?:if|when) you\b", ""),
    ("word element country number",
     r"\b(of|for|in|reverse|sort|spell|opposite to) the (?:word|element|country|number)\b", r"\1"),
    ("capital", r"\bcapital city\b", "capital"),
    ("capital", r"\b(?:which|what) city (?:is|serves as) (?=.*\bcapital\b)", ""),
    ("symbol", r"\bchemical symbol\b", "symbol"),
    ("symbol", r"\bsymbol (?:is used|stands) for\b", "symbol"),
    ("symbol", r"\bsymbol (?:for|to)\b", "symbol of"),
    ("opposite", r"\bopposite (?:to|for)\b", "opposite of"),
    ("antonym", r"\bantonym (?:to|for)\b", "antonym of"),
    ("opposite", r"\b(?:which|what) word (?:means|is) (?=.*\bopposite\b)", ""),
    ("antonym", r"\b(?:which|what) word (?:means|is) (?=.*\bantonym\b)", ""),
    ("reverse", r"\b(?:spell|write) (?:the word )?(\S+) in reverse(?: order)?\b", r"reverse \1"),
    ("backward backwards", r"\b(?:spell|write) (?:the word )?(\S+) backwards?\b", r"reverse \1"),
    ("backward backwards", r"\b(\S+) (?:spelled|written) backwards?\b", r"reverse \1"),
    ("letters", r"\b(?:reverse|flip) the letters (?:of|in) (\S+)(?: backwards)?(?=\W*$)", r"reverse \1"),
    ("letters", r"\b(?:put|arrange|order|sort) the letters (?:of|in) (\S+)(?: from a to z)?(?=\W*$)", r"sort \1"),
    ("alphabetical alphabetically",
     r"\b(?:put|arrange|order|sort) (?:the letters (?:of|in) )?(\S+) (?:in alphabetical order|alphabetically)(?=\W*$)",
     r"sort \1"),
    ("alphabetise alphabetize", r"\balphabeti[sz]e (?:the letters (?:of|in) )?(\S+)(?=\W*$)", r"sort \1"),
    ("roman", r"\b(?:write|convert|turn|express) (\d+) (?:in|to|into|as) (?:a )?roman numerals?\b", r"\1 numeral"),
    ("roman", r"\b(?:as |in )?(?:a )?roman numerals?(?: for| of)?\b", "numeral"),
    ("multiply", r"\bmultiply (\d+) by (\d+)\b", r"\1 * \2"),
    ("times multiplied x ×", r"\b(\d+) (?:times|multiplied by|x|×) (\d+)\b", r"\1 * \2"),
    ("product", r"\bproduct of (\d+) and (\d+)\b", r"\1 * \2"),
    ("calculate compute much", r"\b(?:calculate|compute|how much is) (?=\d+ \* \d+\W*$)", ""),
    ("=", r"(?<=\d) = \?$", ""),
    ("after", r"\b(?:next )?da(?:y|te)(?: comes| one day)?(?: next)? after (?=\w+ \w+\W*$)", "day after "),
    ("follows following", r"\bda(?:y|te) (?:follows|following) (?=\w+ \w+\W*$)", "day after "),
)  # fmt: skip
REWORDINGS = tuple((re.compile(pattern, re.IGNORECASE), plain) for _, pattern, plain in _REWORDINGS)
_CUES = [(place, *cue.partition("+")) for place, row in enumerate(_REWORDINGS) for cue in row[0].split()]
CUES: Mapping[str, tuple[tuple[int, str], ...]] = {  # the places of the rows that a word stands in front of, each with
    word: tuple((place, beside) for place, cue, _, beside in _CUES if cue == word)  # what must be there too, or nothing
    for _, word, _, _ in _CUES
}
BESIDE_CUES = frozenset(beside for _, _, _, beside in _CUES if beside)

# The prompt quotes or holds a text of which every word counts.
VERBATIM = _words(
    "translate translation say pronounce rewrite rephrase paraphrase correct proofread grammar grammatical sentence "
    "summarise summarize summary complete continue transcribe encode decode encrypt decrypt count"
)
# The prompt is about how a word is written, so that its letter case counts.
SPELLING = _words("reverse sort spell spelled letters letter uppercase lowercase capitalise capitalize")
