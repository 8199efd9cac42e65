"""Python 2 -> Python 3, in memory, for the scripts of Caffe's time: print statements, xrange, division.

What Python 3 compiles and that names nothing of Python 2 is left as it is. The rest is translated by fissix,
the kept fork of lib2to3, and where it does not import its division from the future, ints divide as they did.
"""

from __future__ import annotations

import ast
import builtins
import sys
import sysconfig
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType
from typing import Any

from caffe2torch.command_line import say
from caffe2torch.errors import MissingData

_NAMES = frozenset({"xrange", "raw_input", "unicode", "basestring", "unichr", "reduce", "execfile", "long"})
_METHODS = frozenset({"iteritems", "itervalues", "iterkeys", "has_key"})
_MODULES = frozenset(
    {"cPickle", "StringIO", "cStringIO", "urllib2", "ConfigParser", "Queue", "Tkinter", "commands"}
)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_DIVIDE = "__divided_as_by_python_2"


def compiled(source: str | bytes, path: str) -> CodeType:
    """The code of a script of either Python. Raises SyntaxError for what is of neither."""
    try:
        tree = ast.parse(source, path)
    except SyntaxError as error:
        problem: SyntaxError | None = error
    else:
        problem = None
        if not _is_of_python_2(tree):
            return compile(tree, path, "exec", dont_inherit=True)
    text = source if isinstance(source, str) else _decoded(source)
    translated = _translated(text, path, problem)
    say("c2t-caffe", f"{path}: is Python 2; its translation runs")
    return compile(_with_old_division(ast.parse(translated, path)), path, "exec", dont_inherit=True)


def _decoded(source: bytes) -> str:
    try:
        return source.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return source.decode("latin-1").replace("\r\n", "\n")


def _is_of_python_2(tree: ast.AST) -> bool:
    """Whether code uses names that only Python 2 has, and defines none of them itself."""
    made = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                made |= {alias.asname or alias.name for alias in node.names}
                names = [node.module or ""]
            if any(name.partition(".")[0] in _MODULES for name in names) and not _is_guarded(tree, node):
                return True
        elif isinstance(node, ast.Attribute) and node.attr in _METHODS:
            return True
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return bool((used & _NAMES) - made)


def _is_guarded(tree: ast.AST, node: ast.AST) -> bool:
    """Whether an import is in a `try`: code that runs under both Pythons."""
    return any(isinstance(outer, ast.Try) and node in ast.walk(outer) for outer in ast.walk(tree))


def _translated(text: str, path: str, problem: SyntaxError | None) -> str:
    try:
        from fissix import refactor
        from fissix.pgen2.parse import ParseError
    except ImportError:
        raise MissingData(
            f"{path}: is Python 2, which fissix translates; pip install 'caffe2torch[python2]'"
        ) from problem
    fixers = set(refactor.get_fixers_from_package("fissix.fixes"))
    # `from __future__ import division` stays: it says how the rest divides.
    tool = refactor.RefactoringTool(sorted(fixers - {"fissix.fixes.fix_future"}))
    try:
        return str(tool.refactor_string(text.rstrip("\n") + "\n", path))
    except ParseError as error:
        raise problem or SyntaxError(f"{path}: {error}") from None


class _OldDivision(ast.NodeTransformer):
    """Replaces a / b by a call that looks at what a and b are."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        call = ast.Call(ast.Name(_DIVIDE, ast.Load()), [node.left, node.right], [])
        return ast.copy_location(call, node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or not isinstance(node.target, ast.Name):
            return node  # arrays divide in place, and hold no Python ints
        call = ast.Call(ast.Name(_DIVIDE, ast.Load()), [ast.Name(node.target.id, ast.Load()), node.value], [])
        return ast.copy_location(ast.Assign([node.target], call), node)


def _with_old_division(tree: ast.Module) -> ast.Module:
    if any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "division" for alias in node.names)
        for node in tree.body
    ):
        return tree
    setattr(builtins, _DIVIDE, _divide)
    changed: ast.Module = _OldDivision().visit(tree)
    return ast.fix_missing_locations(changed)


def _divide(a: Any, b: Any) -> Any:
    """A / b, of two ints, or arrays of them, rounded down."""
    return a // b if _is_whole(a) and _is_whole(b) else a / b


def _is_whole(value: Any) -> bool:
    if isinstance(value, int):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("i", "u", "b")


class _Loader(SourceFileLoader):
    """Loads modules of either Python; never from or into the cache of compiled modules."""

    def get_code(self, fullname: str) -> CodeType | None:
        """The code, translated where needed."""
        path = self.get_filename(fullname)
        return compiled(self.get_data(path), path)


def translating_imports() -> None:
    """Has modules translated that lie outside Python's own folders and those of installed packages."""
    own = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    own.append(Path(__file__).resolve().parents[3])
    hook = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))

    def finder(path: str) -> FileFinder:
        here = Path(path).resolve()
        if _INSTALLED & {*Path(path).parts, *here.parts} or any(
            here == folder or folder in here.parents for folder in own
        ):
            raise ImportError
        return hook(path)  # type: ignore[return-value]

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()
