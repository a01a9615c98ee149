"""What kind of file a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .tensor_files import read_tensor_header

BEGINNING = 4096  # bytes that are looked at
# How files begin: what they are
BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"BM": "a picture",
    b"II*\0": "a picture",
    b"MM\0*": "a picture",
    b"\x1a\x45\xdf\xa3": "a video",
    b"\0\0\x01\xba": "a video",
    b"\0\0\x01\xb3": "a video",
    b"XINC1": "a compressed model, whose name ends in .xinc",
    b"\x80\x02": "a pickle, which can run code when it is opened, and was not opened",
    b"\x80\x03": "a pickle, which can run code when it is opened, and was not opened",
    b"\x80\x04": "a pickle, which can run code when it is opened, and was not opened",
    b"\x80\x05": "a pickle, which can run code when it is opened, and was not opened",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a packed file, gzip",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
}
RIFF = {b"WEBP": "a picture", b"AVI ": "a video"}
ZIP = b"PK\x03\x04"
CHECKPOINT = "a checkpoint of PyTorch's"
UNKNOWN = "a file of no kind that is known here"


def kind_of_file(path: str | Path) -> str:
    """What a file is, with its article: "a video", "a text", "an empty file".

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with Path(path).open("rb") as file:
        start = file.read(BEGINNING)
    if not start:
        return "an empty file"
    for beginning, kind in BEGINNINGS.items():
        if start.startswith(beginning):
            return kind
    if start[:4] == b"RIFF":
        return RIFF.get(start[8:12], UNKNOWN)
    if start[4:8] == b"ftyp":
        return "a video"
    if start.startswith(ZIP):
        return _kind_of_archive(Path(path))
    return _kind_by_content(Path(path), start)


def _kind_of_archive(path: Path) -> str:
    """What a zip archive is, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001 - damaged archives raise many kinds
        return "an archive that was cut, or damaged"
    if any(name.endswith("/data.pkl") for name in names):
        return CHECKPOINT
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays, .npz"
    return "a zip archive"


def _kind_by_content(path: Path, start: bytes) -> str:
    """Tensors and texts, which do not begin alike."""
    try:
        texts, _ = read_tensor_header(path)
    except ValueError:
        return "a text" if _is_text(start) else UNKNOWN
    return "a clip that save_clip wrote" if "clip" in texts else "a .safetensors file"


def _is_text(start: bytes) -> bool:
    """Whether a beginning is UTF-8 without control characters; its last character may be cut."""
    text = start.decode("utf-8", "ignore")
    whole = len(text.encode()) >= len(start) - 3
    return whole and all(character.isprintable() or character in "\r\n\t\f" for character in text)
