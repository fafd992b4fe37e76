"""Reasons in the code and reasons in the contract are the same, and mean the same status."""

import ast
import re
from pathlib import Path

import pytest
from fulcrum.error.v1.error_reason_pb2 import ErrorReason

from services.chassis import errors, status

ROOT = Path(__file__).parents[3]
PREFIX = "ERROR_REASON_"
NAMES = {name.removeprefix(PREFIX) for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - no mapping
ERRORS = {cls.__name__: cls for cls in status.STATUS}


def documented_codes() -> dict[str, str]:
    """The canonical code that each reason's comment begins with."""
    text = (ROOT / "protos/fulcrum/error/v1/error_reason.proto").read_text(encoding="utf-8")
    found = re.findall(rf"^  // ([A-Z_]+): .*\n(?:  //.*\n)*  {PREFIX}([A-Z_]+) = \d+;", text, re.MULTILINE)
    return {name: code for code, name in found}


def raised() -> list[tuple[str, type[errors.FulcrumError], str]]:
    """Where an error is made with a literal reason: place, class and reason."""
    found = []
    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for keyword in node.keywords:
                if name in ERRORS and keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    found.append((place, ERRORS[name], str(keyword.value.value)))
    return found


def literals() -> set[str]:
    """Every string literal of the services, as some reasons are chosen from tables."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "services").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_reason_documents_its_code() -> None:
    """The contract's comment on a reason begins with the canonical code it comes with."""
    codes = documented_codes()
    assert codes.keys() == NAMES
    assert set(codes.values()) <= {code.name for code in status.STATUS.values()}


@pytest.mark.parametrize("cls", list(ERRORS.values()), ids=list(ERRORS))
def test_default_reasons_are_in_the_contract(cls: type[errors.FulcrumError]) -> None:
    """A class's default reason is one of the contract's, documented under the class's own code."""
    assert documented_codes()[cls.default_reason] == status.STATUS[cls].name


def test_raised_reasons_are_in_the_contract() -> None:
    """A reason given at a raise is one of the contract's, documented under the code of the class it is given to."""
    found, codes = raised(), documented_codes()
    assert len(found) > 3
    assert [one for one in found if codes.get(one[2]) != status.STATUS[one[1]].name] == []


def test_no_reason_is_dead() -> None:
    """Each reason of the contract is written somewhere in the services."""
    assert literals() >= NAMES, NAMES - literals()
