"""Measure how fast and how small: a line as each row is done, then the goals. Writes
``bench.json``, ``bench_layers.png`` and ``bench_growth.png`` into the folder of figures.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

import xinc_core as xc
from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures

from . import drawing, growth, recipes, tracing, training
from .goals import goals
from .measuring import write_rate

NETWORKS = {"ffn": dict(size=(128, 256)), "nerv": dict(size=(128, 256), n_frames=40)}
EPOCHS = {"ffn": 60, "nerv": 4}


def say(row: dict) -> None:
    print(drawing.line(row), flush=True)


def chapter(title: str) -> None:
    print(f"\n{title}", flush=True)


def layer_chapters(rate: float) -> dict:
    """Tracing: layers, Captum, growth with picture and network, training beside a plain loop."""
    chapters: dict = {}
    chapter("Layers at 128×256 (literal: timed for 16 seeded neurons, scaled to all)")
    chapters["layers"] = []
    for name, options in NETWORKS.items():
        chapters["layers"] += tracing.layer_rows(name, options, rate, say)

    chapter("Captum on the FFN, the same job as first_order: totals and heatmap")
    chapters["captum"] = tracing.captum_rows(NETWORKS["ffn"], say)

    chapter(
        "Growth with the picture: totals and heatmap, a seeded 5 % of the layer's channels, "
        "seconds scaled to all"
    )
    chapters["by_size"] = growth.rows_by_size(say)

    chapter("Growth with the network, at 128×256")
    chapters["by_parameters"] = growth.rows_by_parameters(say)

    chapter("Training beside a plain loop, frames per second")
    chapters["training"] = training.rows(xc.load_clip("courtyard"), EPOCHS, say)

    if torch.cuda.is_available():
        chapter("GPU")
        chapters["gpu"] = tracing.gpu_rows(NETWORKS, say)
    return chapters


def recipe_chapter() -> dict:
    """Recipes: time to a PSNR."""
    chapter("Recipes: time to a PSNR")
    machine = dict(threads=torch.get_num_threads(), torch=torch.__version__)
    return dict(recipes=recipes.rows(say), recipes_on=machine)


def earlier() -> dict:
    """What ``bench.json`` holds already."""
    file = figures() / "bench.json"
    return json.loads(file.read_text()) if file.exists() else {}


def main() -> None:
    """Measure, judge, write, draw."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        choices=("tracing", "recipes"),
        help="measure this part alone; the other stays as bench.json has it",
    )
    only = parser.parse_args().only
    start = time.monotonic()
    chapters = earlier() if only else {}
    if only != "recipes":
        rate = write_rate()
        threads = torch.get_num_threads()
        print(f"write rate {rate / 1e9:.1f} GB/s, {threads} threads, torch {torch.__version__}")
        chapters |= dict(write_gb_s=rate / 1e9, threads=threads, torch=torch.__version__)
        chapters |= layer_chapters(rate)
    if only != "tracing":
        chapters |= recipe_chapter()
    names = ("layers", "by_size", "training", "recipes")
    chapters["goals"] = goals(*(chapters.get(name, []) for name in names))
    chapter("Goals")
    for row in chapters["goals"]:
        word = "met" if row["met"] else "not met"
        print(f"{word:7}  {row['goal']}: {row['measured']:.3g} (wanted {row['bound']})")

    if only != "recipes":
        drawing.layers(chapters["layers"])
        drawing.growth(chapters["by_size"], chapters["by_parameters"])
    text = json.dumps(chapters, indent=1) + "\n"
    replace_file(figures() / "bench.json", lambda file: file.write_text(text))
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
