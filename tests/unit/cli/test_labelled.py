"""Files to warm a cache up from: both kinds, both formats, and mistakes named by line, field and value."""

import gzip
from pathlib import Path

import pytest

from services.chassis.settings import ConfigError
from services.cli.labelled import Logged, Pair, read_labelled


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.jsonl",
            '{"text_a": "a, b", "text_b": "c", "label": 1}\n\n{"text_a": "d", "text_b": "e", "label": false}\n',
        ),
        ("a.csv", 'text_a,text_b,label\n"a, b",c,same\nd,e,different\n'),
        ("a.csv.gz", '\ufefftext_a,text_b,label\r\n"a, b",c,TRUE\r\nd,e,0\r\n'),
    ],
)
def test_pairs(tmp_path: Path, name: str, content: str) -> None:
    """JSON Lines and CSV say the same, whatever word a label is."""
    assert read_labelled(write(tmp_path, name, content)) == [Pair("a, b", "c", True), Pair("d", "e", False)]


def test_a_log(tmp_path: Path) -> None:
    """Answers are compared without their line breaks; null is an answer of its own, and a category will do."""
    path = write(
        tmp_path,
        "a.jsonl",
        '{"text": "a", "answer": "x\\n y"}\n{"text": "b", "category": "x y"}\n{"text": "c", "answer": null}',
    )
    assert read_labelled(path) == [Logged("a", "x y"), Logged("b", "x y"), Logged("c", None)]


GOOD = '{"text_a": "a", "text_b": "b", "label": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "a.jsonl",
            GOOD + '{"text_a": "a", "text_b": "b", "label": 2}',
            r"line 2: label: got 2, expected 1, true or same",
        ),
        ("a.jsonl", GOOD + '{"text_a": "a", "label": 1}', r"line 2: text_b: got None, expected a text of 1 to 16384"),
        ("a.jsonl", GOOD + '{"text_a": " ", "text_b": "b", "label": 1}', r"line 2: text_a: got ' '"),
        ("a.jsonl", GOOD + '{"text_a": "\\ud800", "text_b": "b", "label": 1}', r"line 2: text_a: got half a character"),
        (
            "a.jsonl",
            GOOD + '{"text_a": "' + "x" * 20_000 + '", "text_b": "b", "label": 1}',
            r"line 2: text_a: got a longer",
        ),
        ("a.jsonl", GOOD + "{", r"line 2: got no JSON"),
        ("a.jsonl", GOOD + "[" * 100_000, r"line 2: got no JSON"),
        ("a.jsonl", GOOD + "[1]", r"line 2: got '\[1\]', expected an object"),
        ("a.jsonl", '{"text": "a", "answer": 3}', r"line 1: answer: got 3, expected a text, or null"),
        ("a.jsonl", '{"prompt": "a"}', r"line 1: got the fields prompt, expected text_a, text_b and label"),
        ("a.jsonl", "", r"got no rows"),
        ("a.csv", "text_a,text_b,label\na,b,1\na,b,maybe\n", r"line 3: label: got 'maybe'"),
        ("a.csv", "text_a,text_b,label\na,b\n", r"line 2: label: got None"),
        ("a.csv", "text_a,text_b,label\na,b,1,c\n", r"line 2: got more values, expected as many as the header has, 3"),
        ("a.csv", 'text,answer\n"a,b', r"line \d: got no CSV .unexpected end of data"),
        ("a.txt", GOOD, r"got a file named .txt, expected .jsonl or .csv"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, name: str, content: str, told: str) -> None:
    """The first mistake is told with its line, field and value, and with what would have been right."""
    with pytest.raises(ConfigError, match=told):
        read_labelled(write(tmp_path, name, content))


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    """Neither other bytes nor a torn archive nor a missing file ends in a traceback."""
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    for name in ("a.csv", "b.jsonl.gz", "none.csv"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_labelled(tmp_path / name)
