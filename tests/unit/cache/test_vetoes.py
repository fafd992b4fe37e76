"""What must never share an answer, and what should."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.sketch import sketch
from services.cache.telling import TOKEN, tokens_of
from services.cache.vetoes import Veto, veto
from services.cache.wording import CUES, REWORDINGS

DANGEROUS = [
    ("Send the parcel to Spain", "Send the parcel in Spain", Veto.WORDS),
    ("a flight to Oslo", "a flight in Oslo", Veto.WORDS),
    ("aspirin as a child", "aspirin for a child", Veto.WORDS),
    ("State capital of Georgia", "Capital of Georgia", Veto.WORDS),
    ("number of dogs = 3?", "number of dogs != 3?", Veto.TEXT),
    ("What is the capital of France?", "What is the capital of Greece?", Veto.NAMES),
    ('reverse the word "apple"', 'reverse the word "apply"', Veto.WORDS),
    ("what is the opposite of hot", "what is the opposite of cold", Veto.WORDS),
    ("what is the opposite of up", "what is the opposite of in", Veto.WORDS),
    ("opposite of in", "opposite of at", Veto.WORDS),
    ("Reverse cats", "Reverse cat", Veto.WORDS),
    ("Sort the letters of banana", "Reverse the letters of banana", Veto.WORDS),
    ("Reverse the word order of ab cd", "Reverse the letters of ab cd", Veto.WORDS),
    ("What is your name?", "What is my name?", Veto.WORDS),
    ("call jim", "call me jim", Veto.WORDS),
    ("Should I buy a house?", "Can I buy a house?", Veto.WORDS),
    ("Who is the president?", "Who was the president?", Veto.WORDS),
    ("How do I turn on the light?", "How do I turn off the light?", Veto.WORDS),
    ("What is IT?", "What is it?", Veto.NAMES),
    ("vitamin A dose", "vitamin B dose", Veto.NAMES),
    ("C++ tutorial", "C# tutorial", Veto.WORDS),
    ("$50 in euros", "€50 in euros", Veto.WORDS),
    ("50% of 80", "50 of 80", Veto.WORDS),
    ("What is 3 + 4?", "What is 3 - 4?", Veto.WORDS),
    ("What is 5!", "What is 5?", Veto.WORDS),
    ("5 mg to g", "5 Mg to g", Veto.NAMES),
    ("Convert 5 MB to Mb", "Convert 5 Mb to MB", Veto.ORDER),
    ("convert 5 km to m", "convert 5 m to km", Veto.ORDER),
    ("How many metres are in 5 km?", "How many km are in 5 metres?", Veto.ORDER),
    ("flights from Paris to London", "flights from London to Paris", Veto.ORDER),
    ("Is Python faster than Java?", "Is Java faster than Python?", Veto.ORDER),
    ("Did Germany invade Poland?", "Did Poland invade Germany?", Veto.ORDER),
    ("Is a tomato a fruit?", "Is a fruit a tomato?", Veto.ORDER),
    ("Raise x to 5", "Raise 5 to x", Veto.ORDER),
    ("red but not blue", "not red but blue", Veto.ORDER),
    ("What is 2*(3+4)?", "What is (2*3)+4?", Veto.ORDER),
    ("What is 12 - 5?", "What is 5 - 12?", Veto.NUMBERS),
    ("What is two plus three?", "What is two plus four?", Veto.NUMBERS),
    ("What is 1.5 times 2?", "What is 15 times 2?", Veto.NUMBERS),
    ("What is .5 in percent?", "What is 5 in percent?", Veto.NUMBERS),
    ("How do I install Python 3.11?", "How do I install Python 3.12?", Veto.NUMBERS),
    ("What date comes after 4 March?", "What date comes after 5 March?", Veto.NUMBERS),
    ("Is aspirin safe?", "Is aspirin not safe?", Veto.NEGATION),
    ("Can I eat raw eggs?", "Can't I eat raw eggs?", Veto.NEGATION),
    ("Is aspirin safe with alcohol?", "Is aspirin safe without alcohol?", Veto.NEGATION),
    ("When did the war start?", "Where did the war start?", Veto.QUESTION),
    ("Can I pay by card?", "How can I pay by card?", Veto.QUESTION),
    ("Which capital does France have?", "Does France have a capital?", Veto.QUESTION),
    ("When does my contract end?", "When does our contract end?", Veto.PERSON),
    ("Can I leave the plan?", "Can we leave the plan?", Veto.PERSON),
    ("How many seats do I have?", "How many seats do we have?", Veto.PERSON),
    ("Have I been paid?", "Have I paid?", Veto.WORDS),
    ("I've been paid", "I've paid", Veto.WORDS),
    ("I'm paid weekly", "I've paid weekly", Veto.WORDS),
    ("I am asked for ID", "I asked for ID", Veto.WORDS),
    ("I should be paid by Friday", "I should have paid by Friday", Veto.WORDS),
    ("We're paid on Friday", "We've paid on Friday", Veto.WORDS),
    ("Has my boss been paid?", "Has my boss paid?", Veto.WORDS),
    ("Bob is paid by me", "Bob paid by me", Veto.WORDS),
    ("The dog is bitten", "The dog has bitten", Veto.WORDS),
    ("What have I been sent?", "What have I sent?", Veto.WORDS),
    ("Am I being paid?", "Am I paying?", Veto.WORDS),
    ("I was asked", "I asked", Veto.WORDS),
    ("I paid Bob", "I was paid by Bob", Veto.WORDS),
    ("a transfer to Bob from Alice", "a transfer from Bob to Alice", Veto.ORDER),
    ("Who have I paid today?", "Who has paid today?", Veto.QUESTION),
    ("Which of my customers have I paid?", "Which of my customers have paid?", Veto.QUESTION),
    ("Which friends do we pay?", "Which friends pay?", Veto.QUESTION),
    ("the company that paid", "the company I paid", Veto.QUESTION),
    ("Say whether I have a guest", "Say whether I am a guest", Veto.TEXT),
    ("Do you know whether I have a guest?", "Do you know whether I am a guest?", Veto.QUESTION),
    ("If you've a partner, who pays?", "If you're a partner, who pays?", Veto.QUESTION),
    ("Which plans have we now?", "Which plans are we now?", Veto.QUESTION),
    ("What kind of shop have they?", "What kind of shop are they?", Veto.QUESTION),
    ("Move it from my card to our card", "Move it from our card to my card", Veto.PERSON),
    ("Is my plan cheaper than our plan?", "Is our plan cheaper than my plan?", Veto.PERSON),
    ("Do I send our form to my bank?", "Do I send my form to our bank?", Veto.PERSON),
    ("What do I owe you?", "What do you owe me?", Veto.WORDS),
    ("Must you call me?", "Must I call you?", Veto.WORDS),
    ("Which plan is just for teams?", "Which plan is for teams?", Veto.WORDS),
    ("Is this his or hers?", "Is this her or his?", Veto.WORDS),
    ("Reverse the word Polish.", "Reverse the word polish.", Veto.SPELLING),
    ('Translate "in the house" to French', 'Translate "the house" to French', Veto.TEXT),
    ("Translate to French: I like it", "Translate to French: I like the", Veto.TEXT),
    ("How do you say to eat in French?", "How do you say for eat in French?", Veto.TEXT),
    ("hello", "thanks", Veto.TEXT),
    ("what does f[x] mean", "what does f(x) mean", Veto.TEXT),
    ("if x:\n  y\n  z", "if x:\n  y\nz", Veto.TEXT),
]

PARAPHRASES = [
    ("What is the capital of France?", "Tell me the capital city of France."),
    ("What is the capital of France?", "what's France's capital"),
    ("What is the capital of France?", "Which city is the capital of France?"),
    ("Convert 5 km to m", "How many metres are in 5 kilometres?"),
    ("5 km in m?", "Please convert 5 kilometres into metres."),
    ("Spell 'cab' backwards.", "Reverse the word cab."),
    ("Sort the letters of banana.", "Alphabetise banana."),
    ("What is the opposite of hot?", "Name the antonym of hot."),
    ("What is 6 times 7?", "6 x 7 = ?"),
    ("What is the product of 6 and 7?", "Multiply 6 by 7."),
    ("What is the day after March 4?", "What date comes after 4 March?"),
    ("Write 40 in Roman numerals.", "What is the Roman numeral for 40?"),
    ("Do you know the chemical symbol for gold?", "What's gold's chemical symbol?"),
    ("How do I reset my password?", "how can I reset my password"),
    ("Where is my card?", "Where is the card?"),
    ("When does the contract end?", "When does our contract end?"),
    ("How do I spell cab backwards?", "How do we spell cab backwards?"),
    ("I can't log in", "I cannot log in."),
    ("Quick question: who wrote Hamlet?", "Who wrote Hamlet"),
    ("What is 1,000 plus 5?", "What is 1000 plus five?"),
    ("Can you tell me what disposable cards are used for?", "What are disposable cards used for?"),
    ("Which documents do I need?", "Can you tell me which documents I need?"),
    ("Where is the card I ordered?", "Where is the card that I ordered?"),
    ("How much of it is left?", "How much of it do I have left?"),
    ("What is the estimated delivery?", "the estimated delivery"),
    ("Which cards have I now?", "Which cards do I have now?"),
    ("Which cards do I have if I am new?", "Which cards have I if I am new?"),
    ("Move it from my card to our card", "Please move it from my card to our card"),
    ("How've you been?", "How have you been?"),
    ("It's been declined", "It has been declined"),
    ("WHAT IS THE CAPITAL OF FRANCE", "what is the capital of france?"),
]

PIECES = "what is the capital of France not 5 km 'a b' I don't x * - ( ) . ? 12,000"
words = st.lists(st.sampled_from(PIECES.split()))


@pytest.mark.parametrize(("one", "other", "expected"), DANGEROUS)
def test_dangerous_pairs(one: str, other: str, expected: Veto) -> None:
    """Near prompts with different answers are vetoed, in both directions, and the reason is named."""
    assert veto(sketch(one), sketch(other)) is expected
    assert veto(sketch(other), sketch(one)) is expected


@pytest.mark.parametrize(("one", "other"), PARAPHRASES)
def test_paraphrases(one: str, other: str) -> None:
    """Everyday ways to ask the same are not vetoed."""
    assert veto(sketch(one), sketch(other)) is None


@given(st.text(max_size=80))
def test_every_text_has_a_sketch(text: str) -> None:
    """Any text can be reduced, and none vetoes itself."""
    assert veto(sketch(text), sketch(text)) is None


@given(words, st.sampled_from(["seven", "Berlin", "never", "8", "without"]))
def test_one_more_telling_word_is_vetoed(prompt: list[str], extra: str) -> None:
    """A prompt and the same prompt with one more telling word never share an answer."""
    assert veto(sketch(" ".join(prompt)), sketch(" ".join([*prompt, extra]))) is not None


@pytest.mark.parametrize(
    "piece", ["'", '"a', "(a' ", "x'x ", "hi ", "1,234", "put letters of ", "what city is capital "]
)
def test_hostile_text_costs_milliseconds(piece: str) -> None:
    """No text makes the patterns run away."""
    text = (piece * 4000)[:4000]
    begin = time.process_time()
    sketch(text)
    assert time.process_time() - begin < 0.25


def test_a_request_works_its_prompt_out_once() -> None:
    """Looking up, holding a lease and storing share one sketch of the prompt."""
    assert sketch("How do I reset my password?") is sketch("How do I reset my password?")


def test_rewordings_need_one_look() -> None:
    """No rewording writes a word that calls for a later one, so that a prompt's own words tell which to try."""
    calls = [(row, word) for cue, rows in CUES.items() for row, beside in rows for word in (cue, beside)]
    for place, (_, written) in enumerate(REWORDINGS):
        own = {word for row, word in calls if row == place}
        later = {word for row, word in calls if row > place}
        assert (later - own).isdisjoint(TOKEN.findall(written))


@given(st.text(max_size=80) | st.text(alphabet=st.characters(max_codepoint=127), max_size=80))
def test_pieces_are_read_as_the_whole_text_is(text: str) -> None:
    """Piece by piece are found the words, numbers and signs that the pattern finds in all of it, in any letter case."""
    tokens, lower, _ = tokens_of(text)
    assert [*tokens] == TOKEN.findall(text)
    assert [*lower] == [token.lower() for token in tokens]
