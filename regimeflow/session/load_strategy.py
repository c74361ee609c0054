"""A strategy by the name of the place it is written in: a module, a file or a notebook.

Of a notebook only what the strategy needs is run: its class, and the statements that define the
names it uses, down to the imports. What loads data, runs a backtest or starts a live session, be it
in the same cell, is not touched.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import linecache
import symtable
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from regimeflow.engine.strategy import Strategy
from regimeflow.errors import ConfigError, StrategyError, did_you_mean


def load_strategy(place: str) -> Any:
    """Return the strategy class, strategy or function ``f(ctx, bar)`` that ``place`` names.

    Args:
        place: ``"package.module:Name"``, ``"path/file.py:Name"`` or ``"notebook.ipynb:Name"``.
            Modules are looked for in the working directory too, and those that a file or notebook
            imports also in its own directory.

    Raises:
        ConfigError: there is no such file, module or name in it.
        StrategyError: the code there raised; ``.trace`` holds its traceback.
    """
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ConfigError(
            f"cannot read the strategy {place!r}: use module:Class, path/file.py:Class or "
            "notebook.ipynb:Class"
        )
    if where.endswith(".ipynb"):
        module = _from_notebook(_existing(where), name)
    elif where.endswith(".py"):
        module = _from_file(_existing(where))
    else:
        module = _from_module(where)
    found = getattr(module, name, None)
    if found is None:
        raise _no_name(where, name, _candidates(module))
    return found


def _candidates(module: types.ModuleType) -> list[str]:
    """Return the names of the strategies that a module defines or brings along."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value is not Strategy
    ]


def _no_name(where: str, name: str, there: list[str]) -> ConfigError:
    listed = f" (strategies there: {', '.join(there)})" if there else ""
    return ConfigError(f"{where} has no {name!r}{listed}.{did_you_mean(name, there)}")


# ---------------------------------------------------------------- modules and files


def _from_module(name: str) -> types.ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {name!r} here or among the installed ones: "
                "a file is given with its ending, as in strategies/mine.py:Class"
            ) from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _from_file(path: Path) -> types.ModuleType:
    _look_in(path.parent)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be loaded as Python code")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _broken(str(path), error) from error
    return module


def _existing(where: str) -> Path:
    path = Path(where).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"there is no file {where}")
    return path


def _look_in(folder: Path) -> None:
    """Let imports find what lies beside the strategy, after everything that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _module_name(path: Path) -> str:
    """Return the file's own name, so that others import the same module; another if it is taken."""
    name = path.stem
    if name.isidentifier() and _origin(name) in (None, str(path)):
        return name
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return f"{''.join(c if c.isalnum() else '_' for c in name)}_{mark}"


def _origin(name: str) -> str | None:
    """Return where an import of ``name`` would lead, None if nowhere."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that something made by hand, such as __main__
        return name
    return None if spec is None else spec.origin or name


def _broken(where: str, error: BaseException) -> StrategyError:
    return StrategyError(
        f"{where} failed while it was loaded: {type(error).__name__}: {error}",
        trace="".join(traceback.format_exception(_without_loading(error))),
    )


def _without_loading(error: BaseException) -> BaseException:
    """Return the error with the frames that led into the user's code taken off its traceback."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__
        or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    return error.with_traceback(trace)


# ---------------------------------------------------------------- notebooks


@dataclass(slots=True)
class _Statement:
    """One statement at the outermost level of a cell.

    Attributes:
        cell: number of its code cell, from 1.
        text: its source.
        binds: names that it gives a value.
        changes: names whose value it changes in place, as ``weights["SPY"] = 1`` does.
        uses: names that it reads, the global ones of its functions and classes included.
        imports: whether it is an import; ``"*"`` in ``binds`` stands for a star import.
    """

    cell: int
    text: str
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    imports: bool = False


def _from_notebook(path: Path, name: str) -> types.ModuleType:
    statements, unread = _statements(path)
    if not any(name in statement.binds for statement in statements):
        known = sorted({n for s in statements for n in s.binds})
        hint = f"; cell {unread[0]} is not Python and was left out" if unread else ""
        raise ConfigError(f"{path.name} defines no {name!r}{hint}.{did_you_mean(name, known)}")
    return _executed(path, _needed(statements, name))


def _executed(path: Path, statements: list[_Statement]) -> types.ModuleType:
    """Run statements as a module that carries their source, for tracebacks and `inspect`."""
    source = _assembled(statements)
    _look_in(path.parent)
    name = _module_name(path.with_suffix(".py"))
    module = types.ModuleType(name)
    module.__file__ = str(path)
    # A module without a spec is not seen as the user's own work where strategies are frozen.
    module.__spec__ = ModuleSpec(name, None, origin=str(path))
    # Entries without a time of change are never looked up on the disk, where the JSON lies.
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise _broken(path.name, error) from error
    return module


def _assembled(statements: list[_Statement]) -> str:
    lines: list[str] = []
    futures = [s.text for s in statements if s.imports and s.text.startswith("from __future__")]
    lines += futures  # they must stand first, wherever in the notebook they stood
    cell = 0
    for statement in statements:
        if statement.text in futures:
            continue
        if statement.cell != cell:
            cell = statement.cell
            lines.append(f"# cell {cell}")
        lines.append(statement.text)
    return "\n".join(lines) + "\n"


def _needed(statements: list[_Statement], name: str) -> list[_Statement]:
    """Return the statements that ``name`` depends on, in the notebook's order.

    A name means what it meant when the strategy was defined: statements up to there count, later
    ones only for names that nothing before gives a value to.
    """
    home = max(i for i, s in enumerate(statements) if name in s.binds)
    chosen = {home}
    chosen.update(
        i
        for i, s in enumerate(statements)
        if s.imports and ("*" in s.binds or s.text.startswith("from __future__"))
    )
    known: set[str] = {name}
    open_names = {n for i in chosen for n in statements[i].uses}
    while open_names:
        wanted = open_names.pop()
        if wanted in known:
            continue
        known.add(wanted)
        for i in _makers(statements, wanted, home):
            chosen.add(i)
            open_names |= (statements[i].uses | statements[i].changes) - known
    return [statements[i] for i in sorted(chosen)]


def _makers(statements: list[_Statement], name: str, home: int) -> list[int]:
    """Return the places of the statements that give ``name`` its value or change it."""
    binding = [i for i, s in enumerate(statements) if name in s.binds]
    before = [i for i in binding if i < home]
    last = home if before else len(statements)
    imported = all(statements[i].imports for i in before or binding)
    # What is done *to* a module, such as `rf.backtest(...)`, does not belong to its meaning.
    changing = [] if imported else [i for i, s in enumerate(statements[:last]) if name in s.changes]
    return (before or binding) + changing


def _statements(path: Path) -> tuple[list[_Statement], list[int]]:
    """Return the statements of all code cells, and the cells that are not Python."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
        texts = [
            c["source"] if isinstance(c["source"], str) else "".join(c["source"]) for c in cells
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a notebook of format 4: {error}") from error
    found: list[_Statement] = []
    unread = []
    for number, text in enumerate(texts, start=1):
        parsed = _parsed(text)
        if parsed is None:
            unread.append(number)
            continue
        source, tree = parsed
        found.extend(_statement(number, source, node) for node in tree.body)
    return found, unread


def _parsed(text: str) -> tuple[str, ast.Module] | None:
    """Return a cell as Python, without magics and shell lines; None if it is another language."""
    lines = text.splitlines()
    if lines and lines[0].startswith("%%"):
        if lines[0].split()[0] not in _PYTHON_MAGICS:
            return None
        lines = lines[1:]
    # First as it stands: a line of a text or a formula may begin with a percent sign.
    for source in ("\n".join(lines), "\n".join(line for line in lines if not _is_magic(line))):
        try:
            return source, ast.parse(source)
        except (SyntaxError, ValueError):
            continue
    return None


#: Cell magics below which Python stands.
_PYTHON_MAGICS = frozenset({"%%time", "%%timeit", "%%capture", "%%prun"})


def _is_magic(line: str) -> bool:
    bare = line.strip()
    if bare.startswith(("%", "!", "?")) or bare.endswith("?"):
        return True
    value = bare.partition("=")[2].lstrip()
    return value.startswith(("%", "!"))


def _statement(cell: int, source: str, node: ast.stmt) -> _Statement:
    text = _text(source, node)
    statement = _Statement(cell, text, uses=_names_used(text))
    if isinstance(node, ast.Import | ast.ImportFrom):
        statement.imports = True
        for alias in node.names:
            statement.binds.add(alias.asname or alias.name.partition(".")[0])
        return statement
    for part in _outer(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            statement.binds.add(part.name)
        elif isinstance(part, ast.Import | ast.ImportFrom):
            statement.binds |= {a.asname or a.name.partition(".")[0] for a in part.names}
        elif isinstance(part, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete):
            _assigned(part, statement)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            root = _root(part.value.func)
            if root is not None and not isinstance(part.value.func, ast.Name):
                statement.changes.add(root)
    return statement


def _text(source: str, node: ast.stmt) -> str:
    """Return a statement's own source; a decorator belongs to what it decorates."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    lines = source.split("\n")[first - 1 : node.end_lineno]
    if not getattr(node, "decorator_list", []):
        # Columns count bytes; several statements may share a line.
        head = source.split("\n")[node.lineno - 1].encode()[: node.col_offset]
        lines[0] = lines[0][len(head.decode()) :]
    if node.end_col_offset is not None:
        cut = source.split("\n")[(node.end_lineno or first) - 1].encode()[node.end_col_offset :]
        lines[-1] = lines[-1][: len(lines[-1]) - len(cut.decode())]
    return "\n".join(lines)


def _outer(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield a statement and those inside its branches, but not inside functions and classes.

    The variable of a loop is not a definition: `for fast in (10, 20): backtest(...)` is no reason
    to run the loop for a strategy that has a `fast`.
    """
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _outer(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            for inner in child.body:
                yield from _outer(inner)


def _assigned(
    node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete, statement: _Statement
) -> None:
    targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                statement.binds.add(part.id)
            elif isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(
                part.ctx, ast.Load
            ):
                root = _root(part)
                if root is not None:
                    statement.changes.add(root)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        statement.uses.add(node.target.id)


def _root(node: ast.expr) -> str | None:
    """Return the name at the left end of ``name.attribute[...]``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _names_used(text: str) -> set[str]:
    """Return the names that a statement reads from the module, deep inside functions included."""
    try:
        outermost = symtable.symtable(text, "cell", "exec")
    except SyntaxError:  # such as a bare `await`: if it should be needed, running it says so
        return set()
    names = {s.get_name() for s in outermost.get_symbols() if s.is_referenced()}
    tables = list(outermost.get_children())
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        names.update(s.get_name() for s in table.get_symbols() if s.is_global())
    return names


__all__ = ["load_strategy"]
