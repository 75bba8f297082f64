"""The tests that docs/robustness.md and SECURITY.md name exist."""

import ast
import re
from pathlib import Path

import pytest


TESTS = Path(__file__).parent
ROOT = TESTS.parent
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_fault_and_target_has_its_test():
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    named = NAMED.findall(text)
    assert len(named) > 50
    assert not [f"{file}::{name}" for file, name in named if name not in functions_of(TESTS / file)]
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| fault", "| target"))
    ]
    assert not [row for row in rows if not NAMED.search(row)]


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("test_fuzz_*.py")))
def test_every_fuzz_target_is_in_the_table(file):
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    assert {name for found, name in NAMED.findall(text) if found == file} == {
        name for name in functions_of(TESTS / file) if name.startswith("test_")
    } - {"test_examples_are_good", "test_no_float_holds_it"}


def test_security_has_its_tests():
    assert "tests/test_security.py" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert len([name for name in functions_of(TESTS / "test_security.py") if name.startswith("test_")]) > 15
