"""What ``pyproject.toml`` has no words for: a wheel carries the notebooks and the table of clips.

In the checkout they lie at the top, where readers look. A wheel has the notebooks inside the
package without outputs, so that ``xinc study my_video.mp4`` works where it is installed, and beside
them the tables that say where clips are fetched from, with the masks made for them, so that
``xc.load_clip("cars")`` does.
"""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
WORKFLOW = "Snakefile"  # of a sweep
TABLES = ("videos.json", "photographs.json")  # of data/
MASKS = ("*.png", "*.json")  # of data/masks


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
        self.lay_tables(Path(self.build_lib) / "xinc_core" / "data")

    def lay_tables(self, folder: Path) -> None:
        """Lay the tables of clips into a folder, and the masks of those that are fetched."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            shutil.copyfile(ROOT / "data" / name, folder / name)
        masks = ROOT / "data" / "masks"
        for pattern in MASKS:
            for file in sorted(masks.rglob(pattern)):
                copy = folder / "masks" / file.relative_to(masks)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def without_outputs(text: str) -> str:
    """A notebook as it is before it is run: without outputs, and without its widgets' state."""
    notebook = json.loads(text)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


setup(cmdclass={"build_py": BuildWithNotebooks})
