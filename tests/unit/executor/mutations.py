"""Seeded damage to a model folder's files: odd values in their JSON, and bytes changed, cut and added."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "generation_config.json")
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    10**400,
    0.5,
    1e308,
    -1e-308,
    float("nan"),
    float("inf"),
    "",
    "64",
    "\ud800",
    "x" * 300,
    [],
    [[]],
    [64, "a", None],
    {},
    {"a": {}},
)


def mutate(rng: random.Random, folder: Path) -> str:
    """Damages one file of `folder` and says how."""
    path = folder / rng.choice(FILES)
    content = path.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(_damage_bytes(rng, content))
        return f"{path.name}: bytes"
    if path.name != WEIGHTS:
        value = json.loads(content)
        how = _damage_value(rng, value)
        path.write_text(json.dumps(value))
        return f"{path.name}: {how}"
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    how = _damage_value(rng, header)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[8 + length :])
    return f"{path.name}: {how}"


def _damage_value(rng: random.Random, value: Any) -> str:
    """Replaces, removes or adds a value somewhere inside."""
    container, key = rng.choice(list(_places(value)))
    kind = rng.choice(["replace", "replace", "remove", "add"])
    if kind == "remove":
        del container[key]
    elif kind == "add" and isinstance(container, dict):
        container[rng.choice(["rope_scaling", "head_dim", "sliding_window", "x"])] = rng.choice(ODD)
    else:
        container[key] = odd = rng.choice(ODD)
        return f"{key} = {odd!r:.40}"
    return f"{kind} {key}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container inside with each of its keys; of long ones, such as a vocabulary, the first few."""
    keys = list(value)[:40] if isinstance(value, dict) else range(min(len(value), 8))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _damage_bytes(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    at = rng.randrange(min(len(damaged), 4000))
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(damaged[:at])
    if kind == 1:
        damaged[at : at + 4] = rng.randbytes(4)
    elif kind == 2:
        damaged[at:at] = rng.randbytes(rng.randrange(1, 9))
    else:
        del damaged[at : at + rng.randrange(1, 9)]
    return bytes(damaged)
