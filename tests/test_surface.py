"""The public surface, what importing costs, and which room may import which."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid
from pellucid import errors

PACKAGE = Path(pellucid.__file__).parent
# Lower rooms first: a room may import itself and what stands before it in its own tuple.
ALLOWED = {
    "errors": (),
    "version": (),
    "progress": (),
    "models": ("errors", "progress"),
    "trace": ("errors", "progress", "models", "version"),
    "relevance": ("errors", "progress", "models", "trace"),
    "lens": ("errors", "progress", "models", "trace"),
    "lab": ("errors", "progress", "models", "trace", "lens", "version"),
    "apps": ("errors", "progress", "models", "trace", "relevance", "lens", "version"),
    "testing": ("errors", "progress", "models", "trace", "apps"),
    "bench": ("errors", "progress", "models", "trace", "relevance", "lens", "apps", "lab", "version"),
    "render": ("errors", "trace", "relevance", "lens", "apps", "lab", "bench", "version"),
    "model": ("models", "progress", "trace", "relevance", "lens", "apps"),
    "serve": (
        "errors",
        "version",
        "progress",
        "models",
        "trace",
        "relevance",
        "lens",
        "apps",
        "render",
    ),
    "cli": (
        "errors",
        "version",
        "progress",
        "models",
        "model",
        "trace",
        "relevance",
        "lens",
        "apps",
        "lab",
        "bench",
        "render",
        "serve",
    ),
    "__init__": ("errors", "version", "model", "trace", "relevance"),
    "__main__": ("cli",),
}
# ``Trace``, ``Comparison``, ``Interactions``, ``Relevance`` and the lens's results forward ``show``, ``save`` and the
# notebook hook to render, when called. Loading tells transformers about the lab's architecture, where a model has it.
# These are the arrows that point back.
FORWARDING = {
    ("trace/result.py", "render"),
    ("trace/compare.py", "render"),
    ("trace/interactions.py", "render"),
    ("relevance/result.py", "render"),
    ("lens/plain.py", "render"),
    ("models/load.py", "lab"),
}


def test_all_is_what_is_there() -> None:
    for name in pellucid.__all__:
        assert getattr(pellucid, name) is not None
    assert pellucid.__all__ == sorted(pellucid.__all__)
    assert set(dir(pellucid)) == set(pellucid.__all__)
    public = {n for n, e in vars(errors).items() if inspect.isclass(e) and issubclass(e, Exception)}
    assert public <= set(pellucid.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pellucid.nothing  # noqa: B018


def test_error_tree_is_what_its_docstring_draws() -> None:
    drawn, stack = {}, []
    for line in (errors.__doc__ or "").splitlines():
        at = line.find("Error")
        if not line.startswith("    ") or at < 0:
            continue
        word = next(w for w in line.replace("├", " ").replace("└", " ").replace("─", " ").replace("│", " ").split())
        depth = (line.index(word) - 4) // 4
        stack[depth:] = [word]
        drawn[word] = stack[depth - 1] if depth else None
    real = {
        n: (e.__bases__[0].__name__ if n != "Error" else None)
        for n, e in vars(errors).items()
        if inspect.isclass(e) and issubclass(e, Exception)
    }
    assert drawn == real


@pytest.mark.parametrize(
    "code", ["import pellucid", "import pellucid; pellucid.Trace", "import pellucid.cli.main as m; m.parser()"]
)
def test_no_torch_until_it_is_needed(code: str) -> None:
    heavy = (
        "import sys; print([m for m in ('torch', 'transformers', 'matplotlib', 'rich', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", f"{code}; {heavy}"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def imports(path: Path) -> set[str]:
    """Rooms that a file imports, at the top, inside functions and for typing alike."""
    return imported(ast.parse(path.read_text(encoding="utf-8")))


def imported(tree: ast.Module) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative import"
            names = [node.module]
            if node.module == "pellucid":
                names = [f"pellucid.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("pellucid.")}
    return rooms


def at_run_time(path: Path) -> set[str]:
    """The same without what stands under ``if TYPE_CHECKING``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    return imported(tree)


def test_arrows_point_one_way() -> None:
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        room = place.parts[0].removesuffix(".py")
        seen.add(room)
        for other in imports(path) - {room}:
            if (place.as_posix(), other) in FORWARDING:
                continue
            if (room, other) == ("apps", "model") and other not in at_run_time(path):
                continue  # what an application is given may be the user's handle: for typing alone
            assert other in ALLOWED[room], f"{place} imports the room {other}"
    assert seen == set(ALLOWED)


def test_nothing_happens_at_import() -> None:
    """No module sets up logging, picks a device, touches warnings or the random state when it is imported."""
    code = """
import logging, warnings, pkgutil, importlib, numpy as np
import torch, transformers, transformers.modeling_utils, rich
import matplotlib.figure, matplotlib.backends.backend_agg, matplotlib.font_manager
def state():
    return (logging.root.handlers[:], logging.root.level, np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(), dict(matplotlib.rcParams), torch.get_default_dtype(),
            torch.get_num_threads(), list(warnings.filters))
before = state()
import pellucid
for m in pkgutil.walk_packages(pellucid.__path__, "pellucid."):
    if not m.name.endswith("__main__"):
        importlib.import_module(m.name)
print([a == b for a, b in zip(before, state())])
"""
    out = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert out.stdout.strip() == str([True] * 8), out.stdout + out.stderr


def test_files_stay_short() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path
