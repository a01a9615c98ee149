"""Names that are markup, formulas or control characters, and what is called by them."""

import json

import matplotlib.pyplot as plt
import torch

import xinc_core as xc
from xinc_core.clips import Segment, save_clip
from xinc_core.models import FFN
from xinc_core.util.text import as_file_name, as_plain

HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "image": "<img src=x onerror='window.pwned = 1'>",
    "attribute": '" onmouseover="window.pwned = 1" x=\'',
    "end of title": "</title></style></script><script>window.pwned = 1</script>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "formula": r"$\frac$",
    "whole formula": r"$x^2$ \(y\) \[z\] \begin{align}",
    "lines": "one\ntwo\r\nthree\u2028four",
    "control": "\x00\x07\x1b[31mred\x1b[0m\x9b",
    "turned": "\u202etxt.exe",
    "half a character": "half \udc80",
    "long": "very long " * 2000,
    "path": "../../../up/and/away",
}


def clip_with(text, n_frames=2):
    """A clip whose name and segments are called so."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(n_frames, 3, 32, 48, generator=generator)
    labels = torch.zeros(n_frames, 32, 48, dtype=torch.long)
    labels[:, 4:20, 4:20], labels[:, 10:30, 30:40] = 1, 2
    segments = {1: Segment(1, f"{text} 1", text, True), 2: Segment(2, f"{text} 2", text, True)}
    return xc.Clip(text, frames, 10.0, labels, segments)


def hostile_run(folder, text):
    """A study's folder in which everything that the page shows is called so."""
    for name in ("clips", "models", "figures"):
        (folder / name).mkdir(parents=True)
    clip = clip_with(text, 1)
    save_clip(clip, folder / "clips" / "clip.safetensors", source=text)
    model = FFN(FFN.Config(size=(32, 48), width=6))
    facts = dict(clip=text, seed=1, epochs=text, psnr=20.0)
    xc.save_model(model, folder / "models" / "ffn-clip.safetensors", **facts)
    table = figures_table(text)
    (folder / "figures" / "03_findings.csv").write_text(table, encoding="utf-8")
    plain = as_file_name(text).replace("\\", "_")[:60]
    fig, ax = plt.subplots(figsize=(2, 2))
    fig.savefig(folder / "figures" / f"03_{plain}.png")
    plt.close(fig)
    about = dict(name=text, source=text, taken=text, segments=[dict(name=text)], fps=10, more=text)
    run = dict(clip=about, profile=text, families=[text], seeds=[text], command=text)
    run |= dict(epochs={text: text}, device=text, seconds={text: 1.0}, versions={text: text})
    (folder / "run.json").write_text(json.dumps(run | dict(would_add=text)))


def figures_table(text):
    """A findings table whose words are all this text."""
    from xinc_core.study.answers.table import findings_table

    columns = list(findings_table([]).columns)
    numbers = {"value", "low", "high", "n_units", "n_clips", "threshold", "against"}
    word = as_plain(text)[:300].replace('"', '""')
    row = [("1" if name in numbers else "" if name == "holds" else f'"{word}"') for name in columns]
    return ",".join(columns) + "\n" + ",".join(row) + "\n"
