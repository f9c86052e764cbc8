"""What `make mutants` changes, and what it says of a small package with tests of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.__main__ import TARGETS, TESTS
from tests.mutation.mutants import mutants

ROOT = Path(__file__).parents[2]
CODE = '''"""Seats."""

FREE = 3


def seat(guests, *, polite=True):
    """Says how many find a seat."""
    if guests > FREE and polite:
        tell(guests, why="too many")
    return min(guests, FREE)


def tell(guests, why=""):
    TOLD.append(guests)


def forgotten():
    tell(1)


TOLD = []
'''
CHECKS = """
from mutable import seats

def test_some_find_a_seat():
    assert [seats.seat(n) for n in (0, 3, 4)] == [0, 3, 3]
    assert seats.TOLD == [4]
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return a < b", ["return None", "return a <= b"]),
        ("return a and b", ["return None", "return b", "return a"]),
        ("if not a: f()", ["if a: f()", "if not a: pass", "return None"]),
        ("if a: b()", ["if not a: b()", "if a: pass", "return None"]),
        (
            "return f(1, x=2)",
            ["return None", "return f(1)", "return f(2, x=2)", "return f(1, x=3)"],
        ),
        ("yield a", ["return; yield"]),
        ("raise E('no text')", ["pass", "return None"]),
        ("a.b = c", ["pass", "return None"]),
        ("a: int | None = c", ["return None"]),
        ("return 'sent'", ["return None", "return 'not_sent'"]),
        ("return 'a text'", ["return None"]),
        ("return False", ["return True"]),
    ],
)
def test_one_small_fault_at_a_time(before: str, after: list[str]) -> None:
    def function(body: str) -> str:
        return ast.unparse(ast.parse(f"def f():\n    {body}"))

    made = sorted(ast.unparse(mutant.tree) for mutant in mutants("f.py", function(before)))
    assert made == sorted(function(body.replace("; yield", "\n    yield")) for body in after)


def test_names_in_an_enumeration_are_left_alone() -> None:
    code = "class State(StrEnum):\n    SENT = 'sent'\n\n\nclass Limits:\n    TRIES = 3\n"
    assert [mutant.name for mutant in mutants("f.py", code)] == ["f.py Limits: 3 → 4"]


def test_a_mutant_keeps_its_name_when_lines_are_added_above() -> None:
    moved = CODE.replace("FREE = 3", "import os\n\n\nFREE = 3")
    names = [mutant.name for mutant in mutants("seats.py", CODE)]
    assert names == [mutant.name for mutant in mutants("seats.py", moved)]
    assert len(set(names)) == len(names)


def test_the_files_that_it_is_about_exist() -> None:
    assert [path for path in (*TARGETS, *TESTS) if not (ROOT / path).exists()] == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "mutable/__init__.py": "",
        "mutable/seats.py": CODE,
        "checks/test_seats.py": CHECKS,
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n",
        "accepted.toml": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    words = ["mutable/seats.py", "--tests", "checks", "--accepted", "accepted.toml", *args]
    return subprocess.run(
        [sys.executable, "-m", "tests.mutation", *words],
        cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def accept(project: Path, *names: str) -> None:
    entries = [f"[[survivor]]\nmutant = {name!r}\nreason = 'it is polite'\n" for name in names]
    (project / "accepted.toml").write_text("\n".join(entries), encoding="utf-8")


def test_what_no_test_notices_is_listed_and_fails(project: Path) -> None:
    done = run(project)
    assert done.returncode == 1, done.stderr
    survived = [line[10:] for line in done.stdout.splitlines() if line.startswith("SURVIVED  ")]
    assert "mutable/seats.py seat: guests > FREE and polite → guests > FREE" in survived
    assert "mutable/seats.py tell: its body → nothing" not in survived
    assert (
        "mutable/seats.py forgotten: tell(1) → left out\n          no test calls it" in done.stdout
    )
    assert (project / "mutable/seats.py").read_text(encoding="utf-8") == CODE


def test_accepted_survivors_do_not_fail_and_are_printed_with_their_reasons(project: Path) -> None:
    accept(project, "mutable/seats.py forgotten: tell(1) → left out")
    done = run(project, "--only", "forgotten: tell")
    assert done.returncode == 0, done.stdout
    assert "it is polite" in done.stdout
    assert "0 noticed, 1 accepted, 0 survived; 0 not tried." in done.stdout


def test_what_is_accepted_but_noticed_or_gone_is_told(project: Path) -> None:
    accept(project, "mutable/seats.py tell: its body → nothing", "mutable/seats.py gone: a → b")
    said = run(project, "--only", "tell: its body").stdout
    assert "NOTICED   mutable/seats.py tell: its body → nothing" in said
    assert "GONE      mutable/seats.py gone: a → b" in said


def test_a_reason_has_to_be_given(project: Path) -> None:
    (project / "accepted.toml").write_text("[[survivor]]\nmutant = 'a'\nreason = ' '\n")
    done = run(project)
    assert done.returncode != 0
    assert "no reason is given for 'a'" in done.stderr


def test_what_there_is_no_time_for_fails(project: Path) -> None:
    done = run(project, "--minutes", "0")
    assert done.returncode == 1
    assert ", 0 survived; " in done.stdout
    assert "; 0 not tried" not in done.stdout


def test_tests_that_fail_anyway_prove_nothing(project: Path) -> None:
    (project / "checks/test_seats.py").write_text(CHECKS.replace("[4]", "[5]"))
    done = run(project)
    assert done.returncode == 2
    assert "checks/test_seats.py::test_some_find_a_seat" in done.stdout
