"""What `make map` counts, and the project's own measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.map import Figure, Map, read_map

FILES = {
    "mapped_cli/__init__.py": "",
    "mapped_cli/main.py": "from mapped_core import runs, text\nimport mapped_cli.late\n",
    "mapped_cli/late.py": "def later():\n    from mapped_core.stores.sqlite import rows\n",
    "mapped_core/__init__.py": "",
    "mapped_core/text.py": "import json\n",
    "mapped_core/runs.py": "from mapped_core.stores import open_store\n",
    "mapped_core/stores/__init__.py": "def open_store():\n    import mapped_core.stores.sqlite\n",
    "mapped_core/stores/sqlite/__init__.py": "from mapped_core import text\n",
    "mapped_core/stores/sqlite/rows.py": (
        "from typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from mapped_core.runs import Run\n"
    ),
    "mapped_core/testing/__init__.py": "",
    "mapped_core/testing/service.py": "from mapped_core.testing import world\n",
    "mapped_core/testing/world.py": "from mapped_core import text\n",
}


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Map:
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(tmp_path)
    return read_map(("mapped_cli", "mapped_core"), core="mapped_core")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_a_room_is_a_top_level_package_or_directly_in_the_core(mapped: Map) -> None:
    assert mapped.rooms == {
        "mapped_cli", "mapped_core.text", "mapped_core.runs", "mapped_core.stores",
        "mapped_core.testing",
    }  # fmt: skip


def test_arrows_are_pairs_of_rooms_wherever_the_import_stands(mapped: Map) -> None:
    assert mapped.arrows == {
        ("mapped_cli", "mapped_core.runs"),
        ("mapped_cli", "mapped_core.text"),
        ("mapped_cli", "mapped_core.stores"),  # inside a function
        ("mapped_core.runs", "mapped_core.stores"),
        ("mapped_core.stores", "mapped_core.text"),
        ("mapped_core.stores", "mapped_core.runs"),  # under TYPE_CHECKING
        ("mapped_core.testing", "mapped_core.text"),
    }


def test_modules_with_one_importer_are_named_with_it(mapped: Map) -> None:
    assert mapped.single_importers == {
        "mapped_cli.late": "mapped_cli.main",
        "mapped_core.stores.sqlite": "mapped_core.stores",
        "mapped_core.stores": "mapped_core.runs",
        "mapped_core.stores.sqlite.rows": "mapped_cli.late",
    }  # not mapped_core.testing.world


def test_files_that_import_each_other_are_one_circle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {
        "circular/__init__.py": "",
        "circular/first.py": "import circular.second\n",
        "circular/second.py": "def later():\n    import circular.third\n",
        "circular/third.py": "import circular.first\n",
        "circular/outside.py": "import circular.first\n",
    })  # fmt: skip
    circles = read_map(("circular",), core="circular").circles
    assert circles == (("circular.first", "circular.second", "circular.third"),)


def test_no_circle_where_nothing_leads_back(mapped: Map) -> None:
    assert mapped.circles == ()


def test_a_figure_at_its_limit_is_allowed_and_one_above_is_not() -> None:
    assert not Figure("rooms", 30, 30, []).exceeded
    assert Figure("rooms", 31, 30, []).exceeded


@pytest.mark.parametrize("figure", read_map().figures(), ids=lambda figure: figure.name)
def test_the_project_keeps_to_its_own_measures(figure: Figure) -> None:
    assert not figure.exceeded, "\n".join([f"{figure.value} {figure.name}", *figure.behind])
