"""An exercise apart from its chapter: its check runs with only those statements above it that it needs."""

from __future__ import annotations

import ast
import copy
import functools
import symtable
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from coursekit.checks import check_equal
from coursekit.solutions import exercise_of, solved_notebook

CHANGING = (list, dict, set, np.random.Generator)  # types of which a check gets a copy
SEEDED = ("default_rng", "manual_seed", "draw_clip")  # their first argument is a seed


class Exercise:
    """An exercise of a chapter, ready to check answers. What stands before it is the chapter with its solutions."""

    def __init__(self, chapter: Path, name: str):
        stubs = _code_cells(nbformat.read(chapter, as_version=4))
        solved = _code_cells(solved_notebook(chapter))
        at = next(position for position, cell in enumerate(stubs) if exercise_of(cell) == name)
        self.chapter, self.name = chapter, name
        self._check = _statements_of_check(stubs[at + 1])
        self._chapter = [statement for cell in solved[: at + 1] for statement in ast.parse(cell).body]
        self._made: dict[frozenset[str], dict[str, Any]] = {}
        self._own = next(one for one in self._chapter if isinstance(one, ast.FunctionDef) and one.name == name)

    def check(self, answer: str, *, shift: int = 0) -> None:
        """Run the chapter's check on code that defines the function.

        Args:
            shift: added to every seed of the check, so that it draws cases that the student has not seen. A check
                whose cases are written out stays as it is.

        Raises:
            AssertionError: for a wrong answer. Whatever else the check or the code raises passes through.
        """
        namespace = self._names_above(answer)
        exec(compile(answer, f"<{self.name}>", "exec"), namespace)
        namespace["check_equal"] = functools.partial(check_equal, notebook=self.chapter)
        _run([_Shift(shift).visit(copy.deepcopy(one)) for one in self._check], namespace)

    def _names_above(self, answer: str) -> dict[str, Any]:
        """The names of the chapter that the check, the solution and the answer need: an answer may call any function
        above it. The statements run once; what a check may change in place is copied for each."""
        needing = [*self._check, self._own, *ast.parse(answer).body]
        names = frozenset().union(*map(_used, needing)) - {self.name}
        if names not in self._made:
            made: dict[str, Any] = {"__name__": "chapter", "SCALE": "smoke"}
            _run([one for one in _needed(self._chapter, names) if "SCALE" not in _bound(one)], made)
            self._made[names] = made
        made = {name: value for name, value in self._made[names].items() if name != "__builtins__"}
        return {name: copy.deepcopy(value) if isinstance(value, CHANGING) else value for name, value in made.items()}


class _Shift(ast.NodeTransformer):
    """Adds a number to the seeds that are written out in a check."""

    def __init__(self, shift: int):
        self.shift = shift

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """A call, with its seed shifted if it has one."""
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in SEEDED and node.args:
            seed = node.args[0]
            if isinstance(seed, ast.Constant) and isinstance(seed.value, int):
                seed.value += self.shift
        return node


def _code_cells(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def _statements_of_check(cell: str) -> list[ast.stmt]:
    """The statements of a cell up to its last check or assertion."""
    body = ast.parse(cell).body
    last = max(
        i for i, one in enumerate(body) if isinstance(one, ast.Assert) or ast.unparse(one).startswith("check_equal(")
    )
    return body[: last + 1]


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement at the top of a cell defines."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def _used(statement: ast.stmt) -> set[str]:
    """The names that it needs from above, inside functions and comprehensions, too."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    inner = list(table.get_children())
    while inner:
        scope = inner.pop()
        names |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
        inner += scope.get_children()
    changed = (node.target for node in ast.walk(statement) if isinstance(node, ast.AugAssign))
    return names | {target.id for target in changed if isinstance(target, ast.Name)}


def _needed(statements: list[ast.stmt], names: Collection[str]) -> list[ast.stmt]:
    """Those statements that the names depend on, in order."""
    kept, wanted = [], set(names)
    for statement in reversed(statements):
        if _bound(statement) & wanted:
            kept.append(statement)
            wanted |= _used(statement)
    return kept[::-1]


def _run(statements: list[ast.stmt], namespace: dict[str, Any]) -> None:
    exec(compile(ast.Module(statements, type_ignores=[]), "<chapter>", "exec"), namespace)
