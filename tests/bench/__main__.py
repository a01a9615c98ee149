"""``make bench``: everything in one run; a line as each row is done, then the goals;
``figures/bench.json``, ``bench_*.png``.
"""

from __future__ import annotations

import json
import time

import torch

import xinc_core as xc
from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures

from . import drawing, growth, tracing, training
from .goals import goals
from .measuring import write_rate

NETWORKS = {"ffn": dict(size=(128, 256)), "nerv": dict(size=(128, 256), n_frames=40)}
EPOCHS = {"ffn": 60, "nerv": 4}


def say(row: dict) -> None:
    print(drawing.line(row), flush=True)


def chapter(title: str) -> None:
    print(f"\n{title}", flush=True)


def main() -> None:
    """Measure, print, write, draw."""
    start, rate = time.monotonic(), write_rate()
    print(
        f"write rate {rate / 1e9:.1f} GB/s, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    found = dict(write_gb_s=rate / 1e9, threads=torch.get_num_threads(), torch=torch.__version__)
    chapter("Layers at 128×256 (literal: timed for 16 seeded neurons, scaled to all)")
    found["layers"] = [
        row for name in NETWORKS for row in tracing.layer_rows(name, NETWORKS[name], rate, say)
    ]
    chapter("Captum on the FFN, the same job as first_order: totals and heatmap")
    found["captum"] = tracing.captum_rows(NETWORKS["ffn"], say)
    chapter(
        "Growth with the picture: totals and heatmap, a seeded 5 % of the layer's channels, seconds scaled to all"
    )
    found["by_size"] = growth.rows_by_size(say)
    chapter("Growth with the network, at 128×256")
    found["by_parameters"] = growth.rows_by_parameters(say)
    chapter("Training beside a plain loop, frames per second")
    found["training"] = training.rows(xc.load_clip("courtyard"), EPOCHS, say)
    if torch.cuda.is_available():
        chapter("GPU")
        found["gpu"] = tracing.gpu_rows(NETWORKS, say)
    found["goals"] = goals(found["layers"], found["by_size"], found["training"])
    chapter("Goals")
    for row in found["goals"]:
        print(
            f"{'met    ' if row['met'] else 'not met'}  {row['goal']}: {row['measured']:.3g} (wanted {row['bound']})"
        )
    drawing.layers(found["layers"]), drawing.growth(found["by_size"], found["by_parameters"])
    replace_file(
        figures() / "bench.json", lambda f: f.write_text(json.dumps(found, indent=1) + "\n")
    )
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
