"""Strategies by the name of the place they are written in."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import regimeflow as rf
from regimeflow.session.load_strategy import load_strategy


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leave neither modules nor search paths behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("regimeflow", "matplotlib")):
            del sys.modules[name]


def notebook(path: Path, *cells: str) -> str:
    """Write a notebook with these code cells, a text cell in front, and return its path."""
    text = {"cell_type": "markdown", "metadata": {}, "source": ["# Not code = at all"]}
    code = [
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": dedent(cell).strip().splitlines(keepends=True),
        }
        for cell in cells
    ]
    whole = {"cells": [text, *code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole))
    return str(path)


IMPORTS = "import regimeflow as rf"
CLASS = """
class Mine(rf.Strategy):
    fast: int = 3
"""


# ---------------------------------------------------------------- modules and files


def test_a_class_in_a_file_keeps_its_source(tmp_path):
    file = tmp_path / "alpha_one.py"
    file.write_text(IMPORTS + CLASS)
    found = load_strategy(f"{file}:Mine")
    assert found(fast=7).params == {"fast": 7}
    assert inspect.getsource(found).startswith("class Mine(rf.Strategy):")


def test_a_file_finds_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("LENGTH = 9\n")
    file = tmp_path / "alpha_two.py"
    file.write_text("from beside_it import LENGTH\n" + IMPORTS + CLASS.replace("3", "LENGTH"))
    assert load_strategy(f"{file}:Mine").fast == 9


def test_a_file_named_like_an_installed_module_does_not_shadow_it(tmp_path):
    import json as installed

    file = tmp_path / "json.py"
    file.write_text(IMPORTS + CLASS)
    assert load_strategy(f"{file}:Mine").fast == 3
    assert sys.modules["json"] is installed


def test_a_module_is_found_in_the_working_directory(tmp_path, monkeypatch):
    package = tmp_path / "book_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "crosses.py").write_text(IMPORTS + CLASS)
    monkeypatch.chdir(tmp_path)
    assert load_strategy("book_of_mine.crosses:Mine").fast == 3


def test_a_function_is_a_strategy_too(tmp_path):
    file = tmp_path / "alpha_three.py"
    file.write_text("def hold(ctx, bar):\n    ctx.target(bar.symbol, qty=1)\n")
    assert callable(load_strategy(f"{file}:hold"))


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("alpha.py", "use module:Class, path/file.py:Class or notebook.ipynb:Class"),
        ("alpha.py:not a name", "use module:Class"),
        ("nowhere.py:Mine", "there is no file nowhere.py"),
        ("nowhere.ipynb:Mine", "there is no file nowhere.ipynb"),
        ("no_such_module:Mine", "there is no module 'no_such_module'"),
        ("regimeflow.no_such_part:Mine", "there is no module 'regimeflow.no_such_part'"),
        ("alpha.py:Mime", "Did you mean 'Mine'?"),
        ("alpha.ipynb:Mime", "Did you mean 'Mine'?"),
        ("not_json.ipynb:Mine", "is not a notebook of format 4"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_sentence(tmp_path, monkeypatch, place, sentence):
    (tmp_path / "alpha.py").write_text(IMPORTS + CLASS)
    notebook(tmp_path / "alpha.ipynb", IMPORTS, CLASS)
    (tmp_path / "not_json.ipynb").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rf.ConfigError, match=r".*") as caught:
        load_strategy(place)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".py", ".ipynb"])
def test_code_that_fails_is_shown_with_its_own_traceback(tmp_path, ending):
    path = tmp_path / f"broken{ending}"
    cells = (IMPORTS, "DAYS = {}['fast']", CLASS.replace("3", "DAYS"))
    if ending == ".py":
        path.write_text("\n".join(cells))
    else:
        notebook(path, *cells)
    with pytest.raises(
        rf.StrategyError, match=r"failed while it was loaded: KeyError: 'fast'"
    ) as e:
        load_strategy(f"{path}:Mine")
    assert "DAYS = {}['fast']" in e.value.trace
    assert "load_strategy.py" not in e.value.trace


def test_a_missing_import_of_the_users_module_is_not_called_a_missing_module(tmp_path, monkeypatch):
    (tmp_path / "needs_much.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rf.StrategyError, match="No module named 'not_installed_anywhere'"):
        load_strategy("needs_much:Mine")


# ---------------------------------------------------------------- notebooks


def test_only_what_the_class_needs_is_run(tmp_path):
    place = notebook(
        tmp_path / "research.ipynb",
        """
        import regimeflow as rf
        import a_plotting_library_not_installed as plotting
        """,
        "FAST = 4\nSLOW = FAST * 5\nraise SystemExit('loads a year of ticks')",
        """
        def quick_one():
            return helper(FAST)
        def helper(n):
            return n + 1
        def draws():
            return plotting.draw()
        """,
        """
        class Mine(rf.Strategy):
            fast: int = 3
            slow: int = SLOW
            def initialize(self, ctx):
                self.quick = quick_one()
        report = rf.backtest(Mine, frame)   # in the same cell: neither run nor needed
        """,
        "raise SystemExit('starts a live session')",
    )
    found = load_strategy(f"{place}:Mine")
    mine = found()
    mine.initialize(None)
    assert (mine.slow, mine.quick) == (20, 5)
    names = vars(sys.modules[found.__module__])
    assert {"FAST", "SLOW", "helper", "quick_one", "rf"} <= set(names)
    assert not {"draws", "plotting", "report"} & set(names)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param(("%matplotlib inline\nFAST = 5", "!pip install x"), 5, id="magic lines"),
        pytest.param(("files = !ls\nFAST = 5\nFAST?",), 5, id="shell values and help"),
        pytest.param(("%%time\nFAST = 5",), 5, id="a timed cell"),
        pytest.param(("FAST = 5", "%%bash\nFAST=6"), 5, id="a cell of another language"),
        pytest.param(("FAST = int('''\n%5\n'''.strip()[1:])",), 5, id="a text that looks like one"),
        pytest.param(("FAST, SLOW = 5, 6",), 5, id="unpacked"),
        pytest.param(("FAST: int = 5",), 5, id="annotated"),
        pytest.param(("FAST = 4\nFAST += 1",), 5, id="augmented"),
        pytest.param(("x = 1; FAST = 5; y = 2",), 5, id="three on a line"),
        pytest.param(("é = 'ü'; FAST = len(é) + 4",), 5, id="letters of several bytes"),
        pytest.param(("try:\n    FAST = nix\nexcept NameError:\n    FAST = 5",), 5, id="tried"),
        pytest.param(("if True:\n    FAST = 5",), 5, id="conditional"),
        pytest.param(("d = {}", "d['f'] = 5", "FAST = d['f']"), 5, id="changed in place"),
        pytest.param(("d = []", "d.append(5)", "FAST = d[0]"), 5, id="changed by a call"),
        pytest.param(("d = {}", "for k in 'f':\n    d[k] = 5", "FAST = d['f']"), 5, id="by a loop"),
        pytest.param(("from math import *", "FAST = floor(5.5)"), 5, id="star import"),
        pytest.param(("import math as m", "FAST = m.floor(5.5)"), 5, id="renamed import"),
        pytest.param(("FAST = 5", "for FAST in (7, 8):\n    raise OSError"), 5, id="loop variable"),
        pytest.param(("FAST = (lambda n: n + 1)(4)",), 5, id="lambda"),
    ],
)
def test_names_that_a_class_uses(tmp_path, cells, expected):
    place = notebook(tmp_path / "n.ipynb", IMPORTS, *cells, CLASS.replace("3", "FAST"))
    assert load_strategy(f"{place}:Mine").fast == expected


def test_a_name_means_what_it_meant_when_the_class_was_defined(tmp_path):
    cells = ("FAST = 5", CLASS.replace("3", "FAST"), "FAST = 1 / 0")
    place = notebook(tmp_path / "n.ipynb", IMPORTS, *cells)
    assert load_strategy(f"{place}:Mine").fast == 5


def test_a_name_defined_only_later_is_found_there(tmp_path):
    body = CLASS + "    def on_bar(self, ctx, bar):\n        return LATER\n"
    place = notebook(tmp_path / "n.ipynb", IMPORTS, body, "LATER = 8", "raise OSError")
    assert load_strategy(f"{place}:Mine")().on_bar(None, None) == 8


def test_the_last_of_two_classes_counts(tmp_path):
    place = notebook(tmp_path / "n.ipynb", IMPORTS, CLASS, CLASS.replace("3", "4"))
    assert load_strategy(f"{place}:Mine").fast == 4


def test_a_local_name_is_not_a_use_of_the_global_one(tmp_path):
    body = CLASS + "    def on_bar(self, ctx, bar):\n        report = 1\n        return report\n"
    place = notebook(tmp_path / "n.ipynb", IMPORTS, "report = 1 / 0", body)
    assert load_strategy(f"{place}:Mine")().on_bar(None, None) == 1


def test_future_imports_stand_first(tmp_path):
    place = notebook(tmp_path / "n.ipynb", IMPORTS, "from __future__ import annotations\n" + CLASS)
    assert load_strategy(f"{place}:Mine").__annotations__ == {"fast": "int"}


def test_decorators_belong_to_what_they_decorate(tmp_path):
    body = "@named\nclass Mine(rf.Strategy):\n    fast: int = 3\n"
    decorator = "def named(cls):\n    cls.label = 'mine'\n    return cls"
    place = notebook(tmp_path / "n.ipynb", IMPORTS, decorator, body)
    assert load_strategy(f"{place}:Mine").label == "mine"


def test_a_strategy_of_a_notebook_runs_keeps_its_source_and_shows_its_lines(tmp_path):
    body = CLASS + "    def on_bar(self, ctx, bar):\n        raise ValueError('of mine')\n"
    place = notebook(tmp_path / "n.ipynb", IMPORTS, body)
    found = load_strategy(f"{place}:Mine")
    assert inspect.getsource(found).strip() == body.strip()
    with pytest.raises(rf.StrategyError) as caught:
        rf.backtest(found, rf.datasets.synthetic(n=50))
    assert "raise ValueError('of mine')" in caught.value.trace
    assert "n.ipynb" in caught.value.trace
