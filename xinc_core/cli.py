"""The ``xinc`` command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 0 when done, 2 for bad input in one sentence, 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt as stop:
        print(f"xinc: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except (ValueError, IndexError, OSError, RuntimeError, MemoryError) as error:
        if args.debug:
            raise
        print(f"xinc: {error}", file=sys.stderr)
        return 2
    return 0


def _study(args) -> None:
    from .study import run_study

    parameters = dict(_literal(p) for p in args.parameter)
    print(run_study(args.notebooks, args.out, args.figures, parameters, args.in_place, args.fresh))


def _literal(text: str) -> tuple[str, object]:
    """``name=value`` with the value read as a Python literal, or as plain text."""
    import ast

    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"a parameter is written name=value, not {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _fit(args) -> None:
    import xinc_core as xc

    clip = xc.load_clip(args.clip, args.start, args.stop, args.step)
    options = {} if args.parameters is None else dict(parameters=args.parameters)
    which = "" if args.family == "nerv" else f"-f{args.frame}"
    out = Path(args.output or f"{args.family}-{clip.name}{which}-s{args.seed}.safetensors")
    _writable(out, ".safetensors", args.force)
    state = out.with_suffix(".fit.pt")
    try:
        model, history = _fitted(args, clip, state, options)
    except xc.DivergenceError as error:
        rescued = out.with_suffix(".diverged.safetensors")
        xc.save_model(error.model.cpu(), rescued, clip=clip.name, seed=args.seed)
        state.unlink(missing_ok=True)
        raise RuntimeError(f"{error} They are in {str(rescued)!r}.") from None
    psnr = xc.evaluate(model, clip)
    facts = dict(clip=clip.name, clip_checksum=clip.checksum, seed=args.seed, epochs=len(history), psnr=round(psnr, 3))
    xc.save_model(model.cpu(), out, **facts | ({} if model.for_video else dict(frame=args.frame)))
    history.to_csv(out.with_suffix(".history.csv"))
    state.unlink(missing_ok=True)
    print(f"{out}: {psnr:.2f} dB after {len(history)} epochs")


def _fitted(args, clip, state: Path, options: dict):
    import xinc_core as xc

    return xc.fit(args.family, clip, args.frame, args.seed, args.epochs, args.lr, args.device, checkpoint=state, **options)


def _compress(args) -> None:
    import xinc_core as xc

    out = Path(args.output or f"{Path(args.model).stem}.xinc")
    _writable(out, ".xinc", args.force)
    model = xc.load_model(args.model)
    name = args.clip or _of_shipped(args.model)
    told = xc.compress(model, out, xc.load_clip(name) if name else None, args.bits, args.guided, args.prune, args.tune)
    quality = f"{told['psnr']:.2f} dB" if "psnr" in told else f"{told['psnr_to_original']:.2f} dB to what it painted before"
    print(f"{out}: {told['bytes']:,} bytes, {told['bits_per_pixel']:.3f} bits per pixel, {quality}")


def _of_shipped(model: str) -> str | None:
    """The clip of a shipped model."""
    from .checkpoints import list_models

    return list_models().get(model, {}).get("clip")


def _writable(out: Path, suffix: str, force: bool) -> None:
    """Refuse an output file of the wrong kind, or one that exists; make its folder."""
    if out.suffix != suffix:
        raise ValueError(f"the file ends in {suffix}, not as in {str(out)!r}")
    if out.exists() and not force:
        raise ValueError(f"{str(out)!r} exists already; name another file with -o, or add --force to replace it")
    out.parent.mkdir(parents=True, exist_ok=True)


def _models(args) -> None:
    from .checkpoints import list_models

    for name, facts in list_models().items():
        where = f"frame {facts['frame']}" if "frame" in facts else "all frames"
        print(f"{name:24} {facts['psnr']:6.2f} dB  {facts['clip']}, {where}, seed {facts['seed']}, {facts['epochs']} epochs")


def _clips(args) -> None:
    from .clips import list_clips

    for name, text in list_clips().items():
        print(f"{name:12} {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xinc", description="See which neuron of an implicit neural representation paints which pixel."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name, run, help, example):
        command = commands.add_parser(name, help=help, description=help, epilog=f"example: {example}")
        command.set_defaults(run=run)
        return command

    study = add("study", _study, "run the notebook series into figures and a findings table", "xinc study --notebooks 00 02")
    study.add_argument("--notebooks", nargs="+", metavar="NN", help="only these, by number or name")
    study.add_argument("--out", default="runs/study", help="folder of the executed notebooks (%(default)s)")
    study.add_argument("--figures", help="folder of figures and tables (figures/; with -p OUT/figures)")
    study.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="for the notebooks")
    study.add_argument("--in-place", action="store_true", help="execute the notebooks over themselves")

    study.add_argument("--fresh", action="store_true", help="read no stored measurement; measure everything anew")

    fit = add("fit", _fit, "overfit a network to a clip; Ctrl-C stops, the same command continues",
              "xinc fit my_video.mp4 --epochs 150 --stop 40 -o mine.safetensors")  # fmt: skip
    fit.add_argument("clip", help="a shipped clip's name, a video, an image or a folder of frames")
    fit.add_argument("--family", default="nerv", help="ffn (one frame) or nerv (all frames; default)")
    fit.add_argument("--frame", type=int, default=0, help="the frame that an FFN is fitted to")
    fit.add_argument("--start", type=int, default=0)
    fit.add_argument("--stop", type=int)
    fit.add_argument("--step", type=int, default=1)
    fit.add_argument("--seed", type=int, default=1)
    fit.add_argument("--epochs", type=int, help="default: 300 for nerv, 1000 steps for ffn")
    fit.add_argument("--lr", type=float, help="learning rate; default: 1e-3 for nerv, 9e-4 for ffn")
    fit.add_argument("--force", action="store_true", help="replace an existing file")
    fit.add_argument("--parameters", type=int, help="target number of parameters (nerv)")
    fit.add_argument("--device", default="cpu")
    fit.add_argument("-o", "--output", help="the .safetensors file to write")

    small = add("compress", _compress, "write a model as a small file that load_model reads",
                "xinc compress nerv-courtyard --bits 7 -o small.xinc")  # fmt: skip
    small.add_argument("model", help="a shipped model's name or a file")
    small.add_argument("--clip", help="what it paints, to state the PSNR; shipped models know theirs")
    small.add_argument("--bits", type=int, default=8, help="per weight, 2 to 12 (%(default)s)")
    small.add_argument("--guided", action="store_true", help="spend the bits where contributions say that they matter")
    small.add_argument("--prune", type=float, default=0.0, metavar="SHARE", help="remove this share of the neurons first")
    small.add_argument("--tune", type=int, default=0, metavar="EPOCHS", help="train what is left for so long")
    small.add_argument("--force", action="store_true", help="replace an existing file")
    small.add_argument("-o", "--output", help="the .xinc file to write")

    add("models", _models, "list the shipped models", "xinc models")
    add("clips", _clips, "list the shipped clips", "xinc clips")
    return parser


if __name__ == "__main__":
    sys.exit(main())
