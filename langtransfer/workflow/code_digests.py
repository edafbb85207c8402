"""A digest of each stage's code, so that nobody forgets to raise a stage's version.

The digest covers the stage's script and everything it imports from the package, as syntax trees:
comments, formatting and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from langtransfer.resources import ROOT

# Plumbing that runs a stage but decides nothing of its result.
PLUMBING = frozenset(
    {
        "langtransfer.command",
        "langtransfer.execution",
        "langtransfer.warm",
        "langtransfer.provenance",
        "langtransfer.job",
        "langtransfer.errors",
        "langtransfer.resources",
    }
)


def stage_digest(stage: str) -> str:
    """Digest of everything a stage's result depends on in this package's code."""
    total = hashlib.sha256()
    for module in sorted(closure(f"scripts.{stage}")):
        total.update(f"{module} {module_digest(module)}\n".encode())
    return total.hexdigest()[:16]


def closure(module: str) -> set[str]:
    """The module and the package's modules it imports, directly or not, but for plumbing."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting.extend(imports(current) - PLUMBING)
    return seen


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of the package a module imports, at the top or inside functions."""
    return frozenset(name for name in _imported(_tree(module)) if _path(name) is not None)


@cache
def module_digest(module: str) -> str:
    """Digest of a module's syntax tree without docstrings."""
    tree = _tree(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None, module
    return ast.parse(path.read_text(encoding="utf-8"))


def _path(module: str) -> Path | None:
    if module.split(".")[0] not in ("langtransfer", "scripts"):
        return None
    stem = ROOT.joinpath(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.exists():
            return path
    return None
