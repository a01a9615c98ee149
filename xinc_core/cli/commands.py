"""What the subcommands of ``xinc`` do. Each takes the parsed words; bad input raises with one
sentence.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from xinc_core import clips, storage
from xinc_core.tracing.maps import LayerMaps
from xinc_core.util.paths import no_data
from xinc_core.util.progress import progress_bar


def study(args) -> None:
    """The shipped series, or the study of one's own clip."""
    of_clip = dict(
        masks=args.masks,
        families=args.families,
        seeds=args.seeds,
        profile=args.profile,
        epochs=args.epochs,
        size=args.size,
        frames=args.frames,
        device=args.device,
    )
    of_series = dict(figures=args.figures, in_place=args.in_place, fresh=args.fresh)
    strange = [k for k, v in (of_series if args.clip else of_clip).items() if v]
    if strange or args.dry_run and not args.clip:
        option = f"--{(strange or ['dry_run'])[0].replace('_', '-')}"
        kind = (
            "is for the shipped study, which takes no clip"
            if args.clip
            else "takes a clip: xinc study my_video.mp4 …"
        )
        raise ValueError(f"{option} {kind}")
    if args.clip:
        return _own_study(args, {k: v for k, v in of_clip.items() if v is not None})
    from xinc_core.study.series.notebooks import run_study

    print(
        run_study(
            args.notebooks, args.out or "runs/study", parameters=dict(args.parameter), **of_series
        )
    )


def _own_study(args, options: dict) -> None:
    from xinc_core.study.series.notebooks import check_parameters
    from xinc_core.study.series.plans import described, plan

    options = _listed(options)
    made = plan(args.clip, args.out, notebooks=args.notebooks, **options)
    check_parameters(made.notebooks, dict(args.parameter))
    print(described(made), file=sys.stderr)
    if not args.dry_run:
        from xinc_core.study.series.runs import carry_out

        print(carry_out(made, dict(args.parameter)))


def _listed(options: dict) -> dict:
    """Families as one list, and epochs as one number or a number per family."""
    if "families" in options:
        options["families"] = [family for words in options["families"] for family in words]
    if "epochs" in options:
        options["epochs"] = _epochs(options["epochs"])
    return options


def sweep(args) -> None:
    """The study of many clips."""
    from xinc_core.study.series.sweep import sweep

    named = ("families", "seeds", "profile", "epochs", "size", "frames", "notebooks")
    options = _listed({k: v for k in named if (v := getattr(args, k)) is not None})
    print(
        sweep(
            args.clips, args.out, args.cores, args.executor, args.dry_run, args.further, **options
        ).rstrip()
    )


def step(args) -> None:
    """One step of a sweep."""
    from xinc_core.study.series.sweep import do_step

    do_step(args.out, args.step, args.names)


def _epochs(asked: list[tuple[str | None, int]]) -> int | dict[str, int]:
    """One number for all, or a number per family."""
    if len(asked) == 1 and asked[0][0] is None:
        return asked[0][1]
    if any(name is None for name, _ in asked):
        raise ValueError("--epochs takes one number, or NAME=NUMBER for each family, not both")
    return dict(asked)


def fit(args) -> None:
    """Fit one network and save it."""
    from xinc_core.clips import open_clip
    from xinc_core.storage import fit_and_save

    clip = open_clip(
        args.clip, args.frames.start or 0, args.frames.stop, args.frames.step or 1, args.size
    )
    options = {} if args.parameters is None else dict(parameters=args.parameters)
    name = f"{args.family}-{clip.name}"
    out = Path(
        args.output
        or (
            f"{name}-s{args.seed}"
            if _for_video(args.family)
            else f"{name}-f{args.frame}-s{args.seed}"
        )
        + ".safetensors"
    )
    _writable(out, ".safetensors", args.force)
    psnr, history = fit_and_save(
        args.family,
        clip,
        out,
        frame=args.frame,
        seed=args.seed,
        epochs=args.epochs,
        lr=args.lr,
        device=args.device,
        **options,
    )
    print(f"{out}: {psnr:.2f} dB after {len(history)} epochs")


def _for_video(family: str) -> bool:
    from xinc_core.models import family as family_class

    return family_class(family).for_video


def trace(args) -> None:
    """Write a layer's totals and heatmap, or all of its maps, to a .npz file."""
    import numpy as np

    import xinc_core as xc
    from xinc_core.util.files import replace_file

    canvas = xc.trace(xc.load_model(args.model), args.frame, args.rule)
    name = args.layer or canvas.layers[-2]
    if name not in canvas.layers:
        from xinc_core.util.suggest import unknown

        raise ValueError(unknown(f"layer of {args.model}", name, canvas.layers))
    layer = canvas[name]
    out = Path(args.output or f"{Path(args.model).stem}-{name}-{args.rule}-f{canvas.frame}.npz")
    _writable(out, ".npz", args.force)
    about = dict(model=args.model, layer=name, rule=args.rule, frame=canvas.frame)
    if args.what == "maps":
        _save_maps(layer, out, about)
    else:
        sums = dict(totals=layer.totals().cpu().numpy(), heatmap=layer.heatmap().cpu().numpy())
        replace_file(out, lambda f: np.savez(f, **sums, **about))
    print(
        f"{out}: {len(layer):,} neurons, {layer.shape[1]}×{layer.shape[2]} pixels, {out.stat().st_size / 1e6:.1f} MB"
    )


def _save_maps(layer: LayerMaps, out: Path, about: dict) -> None:
    """All maps, (n_neurons, H, W) float32, as "maps" of a .npz file, a few at a time; the file
    appears when it is whole.
    """
    import numpy as np

    from xinc_core.util.files import replace_file

    n, H, W = layer.shape
    need, free = 4.0 * n * H * W, shutil.disk_usage(out.parent).free
    if 2 * need > 0.95 * free:
        raise ValueError(
            f"all {n:,} maps of {layer.name} take {need / 1e9:.1f} GB, twice that while they are written, and "
            f"{free / 1e9:.1f} GB are free on this disk; --what totals needs next to nothing"
        )
    held = out.with_name(f".{out.name}.maps")  # what an interrupted run left is overwritten
    try:
        maps = np.lib.format.open_memmap(held, "w+", np.float32, (n, H, W))
        with progress_bar(total=n, desc=layer.name, unit="map", delay=2) as bar:
            for neurons, values in layer.chunks():
                maps[neurons.numpy()] = values.cpu().numpy()
                bar.update(len(neurons))
        replace_file(out, lambda f: np.savez(f, maps=maps, **about))  # piece by piece
    finally:
        held.unlink(missing_ok=True)


EXPLORER = """\
import os

{home}import xinc_core as xc

clip = {clip}
model = xc.load_model({model!r})
xc.explore(model, clip)"""


def explore(args) -> None:
    """Write a notebook with the explorer on this clip and network, and open it in JupyterLab."""
    import nbformat

    code = EXPLORER.format(**_explored(args))
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(
                "# Which neuron paints which pixel?\n\nRun → Run All Cells opens the explorer."
            ),
            nbformat.v4.new_code_cell(
                code.replace("import os\n\n", "") if "os." not in code else code
            ),
        ]
    )
    path = Path("runs/explore.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    print(path)
    if not args.no_browser:
        os.execvp(sys.executable, [sys.executable, "-m", "jupyter", "lab", str(path)])


def _explored(args) -> dict[str, str]:
    """The clip's expression, the model's name or path, and where they live; both are loaded
    once, so that errors come now.
    """
    import xinc_core as xc

    run = Path(args.clip)
    if (run / "run.json").is_file():
        from xinc_core.util.paths import environment

        with environment(XINC_RUN=str(run.resolve())):
            name = next((run / "clips").glob("*.safetensors")).stem
            own = [p.stem for p in sorted((run / "models").glob(f"*-{name}.safetensors"))]
            model = args.model or _usual(own)
            xc.fitting.check_clip(xc.load_model(model), xc.load_clip(name))
        return dict(
            home=f'os.environ["XINC_RUN"] = {str(run.resolve())!r}\n',
            clip=f"xc.load_clip({name!r})",
            model=model,
        )
    span = args.frames or slice(None)
    options = dict(start=span.start or 0, stop=span.stop, step=span.step or 1, size=args.size)
    known = args.clip in clips.list_clips()
    source = args.clip if known else str(Path(args.clip).resolve())
    clip = xc.load_clip(source, **options)
    own = [
        n
        for n, facts in storage.list_models().items()
        if facts.get("clip") == clip.name and not facts.get("flipped")
    ]
    if not (args.model or own):
        raise ValueError(
            f"there is no network of {args.clip!r} yet: fit one (xinc fit {args.clip}) and name its file"
        )
    model = args.model or _usual(own)
    xc.fitting.check_clip(xc.load_model(model), clip)
    model = model if storage.find_model(model) else str(Path(model).resolve())
    given = "".join(
        f", {k}={v!r}" for k, v in options.items() if v not in (None, dict(start=0, step=1).get(k))
    )
    return dict(home="", clip=f"xc.load_clip({source!r}{given})", model=model)


def _usual(names: list[str]) -> str:
    """Of a clip's networks the first that paints all of it, else the first."""
    facts = storage.list_models()
    return next((name for name in names if _for_video(facts[name]["family"])), names[0])


def compress(args) -> None:
    """Write a model as a small file."""
    import xinc_core as xc

    out = Path(args.output or f"{Path(args.model).stem}.xinc")
    _writable(out, ".xinc", args.force)
    model = xc.load_model(args.model)
    name = args.clip or storage.list_models().get(args.model, {}).get("clip")
    told = xc.compress(
        model,
        out,
        xc.load_clip(name) if name else None,
        args.bits,
        args.guided,
        args.prune,
        args.tune,
    )
    quality = (
        f"{told['psnr']:.2f} dB"
        if "psnr" in told
        else f"{told['psnr_to_original']:.2f} dB to what it painted before"
    )
    print(f"{out}: {told['bytes']:,} bytes, {told['bits_per_pixel']:.3f} bits per pixel, {quality}")


def models(args) -> None:
    """List the shipped models."""
    known = storage.list_models()
    if not known:
        raise FileNotFoundError(no_data("the shipped models are"))
    for name, facts in known.items():
        where = f"frame {facts['frame']}" if "frame" in facts else "all frames"
        print(
            f"{name:24} {facts['psnr']:6.2f} dB  {facts['clip']}, {where}, seed {facts['seed']}, {facts['epochs']} epochs"
        )


def list_clips(args) -> None:
    """List the shipped clips."""
    for name, text in clips.list_clips().items():
        print(f"{name:12} {text}")


def _writable(out: Path, suffix: str, force: bool) -> None:
    """Refuse an output file of the wrong kind, or one that exists; make its folder."""
    if out.suffix != suffix:
        raise ValueError(f"the file ends in {suffix}, not as in {str(out)!r}")
    if out.exists() and not force:
        raise ValueError(
            f"{str(out)!r} exists already; name another file with -o, or add --force to replace it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
