"""Run the guides: every cell of every notebook in this folder, in a fresh kernel.

    python docs/guides/run.py            # write the outputs into the notebooks
    python docs/guides/run.py --check    # compare what the cells print with what stands there; code 1 if it differs

Pictures are made again, and are not compared: fonts differ from machine to machine. Printed numbers are rounded in the
notebooks, so that another processor prints the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def printed(notebook: Any) -> list[str]:
    """What each code cell printed, and the plain text of its result."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout"]
            texts += [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
            found.append("".join(texts) if not any("image/png" in o.get("data", {}) for o in cell.outputs) else "")
    return found


def run(path: Path) -> Any:
    """The notebook with the outputs of a run in an empty kernel. Raises ``CellExecutionError`` where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
    notebook.metadata.pop("language_info", None)
    return notebook


def main() -> int:
    """Run them."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true", help="compare, and write nothing")
    p.add_argument("notebooks", nargs="*", type=Path, help="these alone")
    options = p.parse_args()
    differ = 0
    for path in options.notebooks or sorted(HERE.glob("*.ipynb")):
        before = printed(nbformat.read(path, as_version=4))
        notebook = run(path)
        if not options.check:
            nbformat.write(notebook, path)
            print(f"wrote {path.name}")
            continue
        for k, (old, new) in enumerate(zip(before, printed(notebook), strict=True)):
            if old != new:
                differ += 1
                print(f"{path.name}, code cell {k + 1} prints\n{new}\ninstead of\n{old}", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
