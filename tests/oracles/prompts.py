"""Real texts of every length, from what is there anyway: the reference tasks and the standard library's docstrings."""

import argparse
import asyncio
import collections
import decimal
import email.message
import http.client
import inspect
import json
import logging
import pathlib
import random
import statistics
import subprocess
import textwrap
from types import ModuleType

from models import tasks

MODULES: tuple[ModuleType, ...] = (
    argparse,
    asyncio,
    collections,
    decimal,
    email.message,
    http.client,
    inspect,
    json,
    logging,
    pathlib,
    random,
    statistics,
    subprocess,
    textwrap,
)


def questions(count: int, seed: int = 0) -> list[str]:
    """Questions of the kind that the reference models answer."""
    rng = random.Random(seed)
    return [tasks.sample(rng, phrasings="all", operands="all").prompt for _ in range(count)]


def passages(count: int, seed: int = 0) -> list[str]:
    """Passages of 1 to 400 words, as many short as long ones on a logarithmic scale."""
    rng = random.Random(seed)
    found = {inspect.getdoc(value) for module in MODULES for value in vars(module).values() if callable(value)}
    words = [text.split() for text in sorted(text for text in found if text)]
    joined = [word for text in rng.sample(words, len(words)) for word in text]
    sizes = [round(400 ** rng.random()) for _ in range(count)]
    starts = [rng.randrange(len(joined) - size) for size in sizes]
    return [" ".join(joined[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
