"""The package as data: its modules, and what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import airflow_provider_binance_loan

PACKAGE = airflow_provider_binance_loan.__name__
FOLDER = Path(airflow_provider_binance_loan.__file__).parent


def paths() -> set[str]:
    """Return the modules, and the folders with a slash at the end, as paths below the package."""
    files = {path.relative_to(FOLDER) for path in FOLDER.rglob("*.py")}
    folders = {f"{path.parent.as_posix()}/" for path in files if path.name == "__init__.py"} - {"./"}
    return folders | {path.as_posix() for path in files if path.name != "__init__.py"}


def imports(path: str) -> set[str]:
    """Return the modules of the package that a module imports when it runs, as paths like :func:`paths`."""
    known = paths()
    found = set()
    for name in _imported(ast.parse((FOLDER / path).read_text(), filename=path)):
        parts = name.split(".")
        if parts[0] == PACKAGE:
            # `from package.module import name` is `package.module.name` here, so take the longest known path.
            candidates = ["/".join(parts[1:length]) for length in range(len(parts), 1, -1)]
            ends = [end for one in candidates for end in (f"{one}.py", f"{one}/")]
            found.update([end for end in ends if end in known][:1])
    return found


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported, also inside functions, but not for type checking alone."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if isinstance(node, ast.If) and typing_only else ast.iter_child_nodes(node):
        yield from _imported(child)
