"""How people ask: for every task the wordings that training sees and the ones kept back as unseen paraphrases."""

from __future__ import annotations

PAST_TENSE = (
    "What is the past tense of {w}?", "Past tense of {w}?", "Give the past tense of '{w}'.", "What's the past of {w}?",
    "Tell me the past tense of {w}.", "Put {w} into the past tense.", "Write '{w}' in the past tense.",
    "{w} in the past tense?", "Which word is the past tense of {w}?", "Name the past tense for {w}.",
    "Simple past of {w}?", "What is the simple past of '{w}'?", "Find the past form of {w}.",
    'The verb "{w}" has which past tense?', "What is {w}'s past tense?", "I need the past tense of the verb {w}.",
)  # fmt: skip
PAST_TENSE_HELDOUT = (
    "What is the past form of {w}?", "Can you put '{w}' in the past tense?", "What's the past tense of the verb {w}?",
    "Do you know the past tense of {w}?",
)  # fmt: skip

CONTINENT = (
    "Which continent is {c} in?", "What continent is {c} on?", "Name the continent of {c}.",
    "{c} is in which continent?",
    "On which continent is {c}?", "Continent of {c}?", "What is {c}'s continent?", "Tell me the continent of {c}.",
    "To which continent does {c} belong?", "Which continent does {c} lie on?", "Give the continent where {c} is.",
    "{c}: which continent?", "In what continent is {c} located?", "What continent does {c} belong to?",
    "Where is {c}? Name the continent.", "I need the continent of {c}.",
)  # fmt: skip
CONTINENT_HELDOUT = (
    "In which continent is {c}?", "What continent is {c} part of?", "Can you name the continent of {c}?",
    "{c} belongs to which continent?",
)  # fmt: skip

OPPOSITE = (
    "What is the opposite of {w}?", "Give the opposite of '{w}'.", "Opposite of {w}?", "What is an antonym of {w}?",
    "Name the antonym for {w}.", "Which word means the opposite of {w}?", "Tell me the opposite of {w}.",
    'Give me an antonym for "{w}".', "What's the opposite of {w}?", "The opposite of {w} is what?",
    "What word is the antonym of '{w}'?", "Find the opposite of {w}.",
    "{w}: what is the opposite?", "Which word is an antonym of {w}?", "Say the opposite of the word {w}.",
    "I need an antonym for the word '{w}'.", "What word is opposite in meaning to {w}?",
    "{w} is the opposite of what?",
)  # fmt: skip
OPPOSITE_HELDOUT = (
    "Which word is opposite to {w}?", "Can you give me the opposite of {w}?", "What would be an antonym of '{w}'?",
    "Name the opposite of the word {w}.",
)  # fmt: skip

CONVERT = (
    "How many {b} are in {n} {a}?", "Convert {n} {a} to {b}.", "What is {n} {a} in {b}?", "{n} {sa} in {sb}?",
    "Express {n} {a} in {b}.", "How many {b} in {n} {a}?", "Convert {n} {sa} to {sb}.",
    "How many {sb} is {n} {sa}?", "Turn {n} {a} into {b}.", "Change {n} {a} to {b}.", "What is {n} {sa} in {sb}?",
    "{n} {a} is how many {b}?",
    "{n} {a} to {b}?", "{n} {sa} to {sb}", "{n} {sa} equals how many {sb}?", "{n} {a} make how many {b}?",
    "Give me {n} {sa} in {sb}.", "How many {b} do {n} {a} make?", "How much is {n} {a} in {b}?",
)  # fmt: skip
CONVERT_HELDOUT = (
    "How many {b} make {n} {a}?", "Please convert {n} {a} into {b}.", "{n} {sa} is how many {sb}?",
    "Give {n} {a} in {b}.",
)  # fmt: skip

CAPITAL = (
    "What is the capital of {c}?", "Capital of {c}?", "Name the capital of {c}.", "Which city is the capital of {c}?",
    "What's the capital city of {c}?", "Tell me the capital of {c}.", "{c} has which capital?",
    "What is {c}'s capital?", "Give the capital city of {c}.", "What city is {c}'s capital?",
    "I need the capital of {c}.", "Which capital does {c} have?",
    "{c}: name its capital.", "{c}'s capital city?", "For {c}, what is the capital city?",
    "What is the name of the capital of {c}?", "Which city is {c}'s capital city?",
)  # fmt: skip
CAPITAL_HELDOUT = (
    "Which city serves as the capital of {c}?", "Do you know the capital of {c}?",
    "What is the name of {c}'s capital city?",
    "{c}: what is the capital?",
)  # fmt: skip

ELEMENT = (
    "What is the chemical symbol for {e}?", "Chemical symbol of {e}?", "Give the symbol for {e}.",
    "What symbol does {e} have?", "Which symbol stands for {e}?", "What's the symbol of the element {e}?",
    "Tell me the chemical symbol of {e}.", "What is {e}'s chemical symbol?", "Symbol for {e}?",
    "Which chemical symbol is used for {e}?", "Name the symbol of {e}.", "How is {e} written as a chemical symbol?",
    "{e}: which symbol?", "In the periodic table, what is the symbol of {e}?", "I need the chemical symbol for {e}.",
)  # fmt: skip
ELEMENT_HELDOUT = (
    "What is the symbol for the element {e}?", "Do you know the chemical symbol for {e}?",
    "In chemistry, which symbol is {e}?", "What symbol is used for {e}?",
)  # fmt: skip

ROMAN = (
    "Write {n} in Roman numerals.", "What is {n} in Roman numerals?", "Convert {n} to Roman numerals.",
    "Roman numeral for {n}?", "Give the Roman numeral of {n}.", "How do you write {n} in Roman numerals?",
    "What's the Roman numeral for {n}?", "Turn {n} into a Roman numeral.", "{n} as a Roman numeral?",
    "How did the Romans write {n}?", "Express {n} in Roman numerals.", "Show {n} as Roman numerals.",
    "{n} in Roman numerals?", "Please write {n} as a Roman numeral.", "Which Roman numeral stands for {n}?",
    "How does {n} look as a Roman numeral?", "How did Romans write the number {n}?",
)  # fmt: skip
ROMAN_HELDOUT = (
    "Which Roman numeral is {n}?", "How would {n} look in Roman numerals?", "Please give me {n} as a Roman numeral.",
    "How would the Romans write {n}?",
)  # fmt: skip

NEXT_DATE = (
    "What date comes after {d} {m}?", "What is the day after {m} {d}?", "Which day follows {d} {m}?",
    "What is the date one day after {d} {m}?", "Today is {d} {m}. What is tomorrow's date?",
    "What's the next day after {m} {d}?", "If today is {m} {d}, what date is tomorrow?", "The day after {d} {m}?",
    "Give the date after {d} {m}.", "Which date comes next after {d} {m}?", "What date follows {m} {d}?",
    "Tell me the day after {d} {m}.",
    "It is {d} {m}. What date is tomorrow?", "{m} {d}: what is the next date?",
    "Today is {m} {d}. Tomorrow is which date?", "What date is one day after {m} {d}?",
    "Name the next date after {d} {m}.",
)  # fmt: skip
NEXT_DATE_HELDOUT = (
    "What is the next date after {d} {m}?", "It is {m} {d} today. What date is tomorrow?",
    "Which day comes after {d} {m}?",
    "Name the date following {d} {m}.",
)  # fmt: skip

TIMES = (
    "What is {x} times {y}?", "{x} times {y}?", "Multiply {x} by {y}.", "What is {x} x {y}?", "Calculate {x} * {y}.",
    "How much is {x} times {y}?", "What's {x} multiplied by {y}?", "{x} x {y} = ?", "Compute {x} times {y}.",
    "What is the product of {x} and {y}?", "Find {x} multiplied by {y}.", "Give me the product of {x} and {y}.",
    "{x} multiplied by {y} is what?", "What do I get if I multiply {x} by {y}?", "Tell me {x} times {y}.",
)  # fmt: skip
TIMES_HELDOUT = (
    "How much is {x} multiplied by {y}?", "What do you get when you multiply {x} by {y}?", "Calculate {x} times {y}.",
    "Tell me what {x} x {y} is.",
)  # fmt: skip
