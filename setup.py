"""What ``pyproject.toml`` has no words for: a wheel carries the notebooks.

In the checkout they lie at the top, where readers look. A wheel has them inside the package without
outputs, so that ``xinc study my_video.mp4`` works where it is installed.
"""

import json
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
WORKFLOW = "Snakefile"  # of a sweep


class BuildWithNotebooks(build_py):
    """Lay the notebooks beside the package's code; an editable install finds the checkout's own."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "xinc_core" / "notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
            (folder / notebook.name).write_text(without_outputs(notebook.read_text()))
        (folder / WORKFLOW).write_text((ROOT / "notebooks" / WORKFLOW).read_text())


def without_outputs(text: str) -> str:
    """A notebook as it is before it is run: without outputs, and without its widgets' state."""
    notebook = json.loads(text)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


setup(cmdclass={"build_py": BuildWithNotebooks})
