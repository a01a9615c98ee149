"""``xinc trace``: a layer's contribution maps, or their sums, as a file."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from xinc_core.util.files import replace_file, scratch_beside
from xinc_core.util.progress import progress_bar
from xinc_core.util.suggest import unknown
from xinc_core.util.text import tell

from .parsing import Parser, add_output, check_output, whole

if TYPE_CHECKING:
    from xinc_core.tracing import LayerMaps

RULES = (
    "paper",
    "first_order",
    "horizon",
    "ablation",
)  # as in tracing.RULES, which takes torch to read
FULLEST = 0.95  # share of the free disk that may be filled


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "trace",
        run,
        "write the contribution maps of a layer, or their sums, to a .npz file",
        "xinc trace nerv-courtyard --layer block3 --frame 7 --rule first_order -o block3.npz",
        "Maps are streamed: a layer that does not fit into memory is written all the same.",
    )
    command.add_argument("model", completes="model", help="a model's name or file")
    command.add_argument("--layer", help="default: the last one before the output")
    command.add_argument(
        "--frame", type=whole(0), help="of a video network (0); an image network has one"
    )
    command.add_argument("--rule", default="paper", choices=RULES)
    command.add_argument(
        "--what",
        default="totals",
        choices=("totals", "maps"),
        help="totals: Σ_p |C| per neuron and Σ_n |C| per pixel; maps: every map (%(default)s)",
    )
    add_output(command, ".npz")


def run(args: argparse.Namespace) -> None:
    """Write a layer's totals and heatmap, or all of its maps, to a .npz file."""
    import numpy as np

    import xinc_core as xc

    canvas = xc.trace(xc.load_model(args.model), args.frame or 0, args.rule)
    if args.frame not in (None, canvas.frame):
        raise ValueError(
            f"{args.model!r} paints one picture, frame {canvas.frame} of its clip, "
            f"not frame {args.frame}; leave out --frame"
        )
    name = args.layer or canvas.layers[-2]
    if name not in canvas.layers:
        raise ValueError(unknown(f"layer of {args.model}", name, canvas.layers))
    layer = canvas[name]
    usual = f"{Path(args.model).stem}-{name}-{args.rule}-f{canvas.frame}.npz"
    out = Path(args.output or usual)
    check_output(out, ".npz", args.force)
    about = dict(model=args.model, layer=name, rule=args.rule, frame=canvas.frame)
    if args.what == "maps":
        _save_maps(layer, out, about)
    else:
        sums = dict(totals=layer.totals().cpu().numpy(), heatmap=layer.heatmap().cpu().numpy())
        replace_file(out, lambda file: np.savez(file, **sums, **about))
    _, height, width = layer.shape
    megabytes = out.stat().st_size / 1e6
    tell(f"{out}: {len(layer):,} neurons, {height}×{width} pixels, {megabytes:.1f} MB")


def _save_maps(layer: LayerMaps, out: Path, about: dict) -> None:
    """All maps, (n_neurons, H, W) float32, as "maps" of a .npz file, a few at a time; the file
    appears when it is whole.
    """
    import numpy as np

    _check_disk(layer, out.parent)
    with scratch_beside(out) as held:
        maps = np.lib.format.open_memmap(held, "w+", np.float32, tuple(layer.shape))
        with progress_bar(total=len(layer), desc=layer.name, unit="map", delay=2) as bar:
            for neurons, values in layer.chunks():
                maps[neurons.numpy()] = values.cpu().numpy()  # (k, H, W)
                bar.update(len(neurons))
        replace_file(out, lambda file: np.savez(file, maps=maps, **about))  # piece by piece


def _check_disk(layer: LayerMaps, folder: Path) -> None:
    """Refuse maps that do not fit on the disk."""
    n, height, width = layer.shape
    need = 4.0 * n * height * width  # bytes of float32
    free = shutil.disk_usage(folder).free
    if 2 * need > FULLEST * free:
        raise ValueError(
            f"all {n:,} maps of {layer.name} take {need / 1e9:.1f} GB, twice that while they are "
            f"written, and {free / 1e9:.1f} GB are free on this disk; "
            "--what totals needs next to nothing"
        )
