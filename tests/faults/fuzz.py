"""Damaged files: whatever is in a file, reading it ends in a clip, a model or one sentence.

Valid files of every kind are flipped, cut, spliced and rewritten, then read in a child process,
which would show a crash (it dies), a hang (a watchdog ends it), the execution of code (a canary
appears), a memory bomb (its address space grows) and an exception of the wrong kind. Case n is
always the same file, so a finding is repeated by its number:

    python tests/faults/fuzz.py 10000      # the first 10,000 cases
    python tests/faults/fuzz.py 1 4711     # case 4711 alone
"""

import faulthandler
import json
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.clips import save_clip
from xinc_core.clips.sources import read_ids
from xinc_core.models import FFN, SIREN, HNeRV, NeRV
from xinc_core.storage import compressed as packing

# Of one file: seconds of the processor, and bytes of memory, above which it is a finding; seconds
# and bytes of address space at which its process ends.
SLOW, LARGE = 1.0, 100e6
HANGS, CEILING = 20, 6e9
EXTREMES = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\xff\xff",
    b"\x80\0\0\0",
]
MODEL = dict(size=(16, 32), n_frames=3)


# Valid files --------------------------------------------------------------------------------------


class Payload:
    """Pickles to a call that would leave a file behind."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (exec, (f"open({str(self.canary)!r}, 'w').close()",))


def write_video(path, codec, frames):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = (
            *frames[0].shape[:2],
            "rgb8" if codec == "gif" else "yuv420p",
        )
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def authors_nerv(model):
    state = {"decoder.0.conv.downconv": model.expand, "head_layer": model.head}
    state |= {f"decoder.{i}.conv.upconv.0": block for i, block in enumerate(model.blocks, 1)}
    return {
        f"{k}.{p}": getattr(m, p).detach() for k, m in state.items() for p in ("weight", "bias")
    }


def authors_hnerv(model):
    """A quantised video of theirs: whole numbers, with a smallest value and a scale."""

    def quantised(value):
        low, scale = value.min(), (value.max() - value.min()).clamp_min(1e-6) / 255
        return dict(quant=((value - low) / scale).round().byte(), min=low, scale=scale)

    state = {name: quantised(value) for name, value in authors_nerv(model).items()}
    return dict(model=state, embed=quantised(model.embeddings))


def write_masks(folder, labels):
    """A mask and its table."""
    Image.fromarray(labels).save(folder / "mask.png")
    infos = [dict(id=1, category_id=7), dict(id=2, category_id=8)]
    table = dict(images=[dict(id=4, file_name="0001.jpg")])
    table["annotations"] = [dict(image_id=4, file_name="mask.png", segments_info=infos)]
    table["categories"] = [dict(id=7, name="dog", isthing=1), dict(id=8, name="sky", isthing=0)]
    (folder / "table.json").write_text(json.dumps(table))


def authors_ffn(model):
    state = {
        f"model.net.{i}.linear.{p}": getattr(m, p).detach()
        for i, m in enumerate(model.linears)
        for p in ("weight", "bias")
    }
    return {"model.positional_encoding.B": model.B} | state


def write_valid(folder):
    """One file of every kind. All load but the evil ones, which ask for code, and the old one:
    it may claim any memory.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 60, (32, 48, 3)) + 15 * t).astype(np.uint8) for t in range(6)]
    for name, codec in (("mpeg4.mp4", "mpeg4"), ("h264.mp4", "libx264"), ("film.gif", "gif")):
        write_video(folder / name, codec, frames)
    Image.fromarray(frames[0]).save(folder / "picture.png")
    labels = torch.from_numpy(rng.integers(0, 3, (6, 32, 48)))
    segments = {i: xc.clips.Segment(i, f"thing {i}", "thing", True) for i in (1, 2)}
    tensor = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    save_clip(xc.Clip("saved", tensor, 10.0, labels, segments), folder / "clip.safetensors")
    nerv = NeRV(
        NeRV.Config(size=(16, 32), n_frames=3, strides=(4, 2), channels=(3, 4, 2), levels=5)
    )
    ffn = FFN(FFN.Config(size=(16, 32), width=6))
    xc.save_model(nerv, folder / "nerv.safetensors", seed=1, psnr=30.5)
    xc.save_model(ffn, folder / "ffn.safetensors", frame=2)
    xc.compress(nerv, folder / "nerv.xinc")
    siren = SIREN(SIREN.Config(size=(16, 32), width=6))
    xc.save_model(siren, folder / "siren.safetensors", half=True)
    xc.compress(siren, folder / "siren.xinc", bits=3)
    hnerv = HNeRV(HNeRV.Config((16, 32), 3, (4, 2), (3, 4, 2), (1, 3), embedding=2))
    xc.save_model(hnerv, folder / "hnerv.safetensors")
    xc.compress(hnerv, folder / "hnerv.xinc", bits=12)
    torch.save(authors_hnerv(hnerv), folder / "quant.pth")
    write_masks(folder, labels[0].numpy().astype(np.uint8))
    torch.save({"state_dict": authors_nerv(nerv), "epoch": 7}, folder / "nerv.pth")
    torch.save({"state_dict": authors_ffn(ffn), "epoch": 7}, folder / "ffn.ckpt")
    torch.save(
        {"state_dict": authors_nerv(nerv)},
        folder / "old.ckpt",
        _use_new_zipfile_serialization=False,
    )
    evil = {"state_dict": authors_nerv(nerv), "config": Payload(folder / "canary")}
    torch.save(evil, folder / "evil.pth")
    torch.save(evil, folder / "evil.ckpt", _use_new_zipfile_serialization=False)


def valid_files(folder):
    return sorted(
        f
        for f in folder.iterdir()
        if not f.name.startswith(("case", "canary")) and f.suffix != ".bin"
    )


# Damage -------------------------------------------------------------------------------------------


def flip(data, rng, _):
    for at in rng.integers(0, len(data), rng.integers(1, 17)):
        data[at] ^= 1 << rng.integers(8)
    return data


def cut(data, rng, _):
    return data[: rng.integers(0, len(data))]


def splice(data, rng, others):
    other = others[rng.integers(len(others))]
    a, b = sorted(rng.integers(0, len(other) + 1, 2))
    at = rng.integers(0, len(data) + 1)
    return data[:at] + other[a : min(b, a + 4096)] + data[at + rng.integers(0, 64) :]


def extreme(data, rng, _):
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(0, max(len(data) - 4, 1))
        data[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
    return data


def digits(data, rng, _):
    """Other numbers in a header of text; its length stays."""
    places = [i for i, byte in enumerate(data[:4096]) if 48 <= byte < 58]
    for at in rng.choice(places, min(len(places), 4)) if places else []:
        data[at] = b"0123456789-"[rng.integers(11)]
    return data


def drop(data, rng, _):
    a, b = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:a] + data[min(b, a + 512) :]


DAMAGE = [flip, cut, splice, extreme, digits, drop]


def repaired(data, kind):
    """Checksums made right again, so that the damage gets past them."""
    if kind == ".png" and data[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        while at + 12 <= len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            if at + 12 + length > len(data):
                break
            end = at + 8 + length
            data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
            at = end + 4
    return data


def reheaded(data, rng):
    """A compressed model with other numbers in its deflated header and a body to match its
    checksum.
    """
    (length,) = struct.unpack("<I", data[5:9])
    header, body = bytearray(zlib.decompress(data[9 : 9 + length])), bytes(data[9 + length :])
    if rng.random() < 0.5:
        body = bytes(extreme(bytearray(body), rng, None))
    header = digits(header, rng, None)
    old = header.find(b'"crc": ') + 7
    end = header.find(b"}", old)
    header[old:end] = str(zlib.crc32(body)).encode()
    packed = zlib.compress(bytes(header))
    return bytearray(packing.MAGIC + struct.pack("<I", len(packed)) + packed + body)


def other_head(data, other, suffix):
    """A model or clip with the header of another one."""
    form, at = ("<I", 5) if suffix == ".xinc" else ("<Q", 0)
    start = at + struct.calcsize(form)
    heads = [start + struct.unpack(form, file[at:start])[0] for file in (data, other)]
    return other[: heads[1]] + data[heads[0] :]


def damaged(number, files):
    """Case ``number``: the name of the valid file that it came from, and its bytes."""
    rng = np.random.default_rng(number)
    file = files[number % len(files)]
    data = bytearray(file.read_bytes())
    if file.suffix == ".xinc" and rng.random() < 0.6:
        return file.name, bytes(reheaded(data, rng))
    if file.suffix in (".xinc", ".safetensors") and rng.random() < 0.1:
        alike = [f for f in files if f.suffix == file.suffix]
        other = alike[rng.integers(len(alike))].read_bytes()
        return file.name, bytes(other_head(data, bytearray(other), file.suffix))
    others = [f.read_bytes() for f in files] if rng.random() < 0.5 else [bytes(data)]
    for _ in range(rng.integers(1, 4)):
        data = DAMAGE[rng.integers(len(DAMAGE))](data, rng, others) if data else data
    return file.name, bytes(repaired(data, file.suffix) if rng.random() < 0.7 else data)


# Reading ------------------------------------------------------------------------------------------


def read(path):
    """Load as what the name says, and use it a little."""
    is_clip = path.suffix in (".mp4", ".gif", ".png") and "mask" not in path.name
    if is_clip or "clip" in path.name:
        clip = xc.load_clip(path)
        assert clip.frames.ndim == 4 and clip.frames.shape[1] == 3 and len(clip) > 0
        assert clip.frames.min() >= 0 and clip.frames.max() <= 1 and repr(clip) and clip.checksum
        assert clip.labels is None or clip.labels.shape == clip.frames[:, 0].shape
        return
    if path.suffix == ".json":
        masked = xc.clips.load_masks(path, xc.Clip("x", torch.zeros(1, 3, 32, 48)))
        assert masked.labels.shape == (1, 32, 48)
        return
    if "mask" in path.name:
        assert read_ids(path).ndim == 2
        return
    model = xc.load_model(path, **MODEL if path.suffix in (".pth", ".ckpt") else {})
    if model.config.size[0] * model.config.size[1] < 1e5:
        assert xc.render(model).shape == (3, *model.config.size)


def verdict(load, path):
    """ "ok", "refused: …", or what is wrong with how it ended."""
    try:
        load(path)
    except (ValueError, FileNotFoundError) as error:
        chain, cause = [], error
        while cause is not None:
            chain.append(cause)
            cause = cause.__cause__ or cause.__context__
        greedy = (
            MemoryError,
            RuntimeError,
        )  # but ffmpeg's own refusal, before it takes any, is as it should be
        if any(
            isinstance(c, greedy)
            and not type(c).__module__.startswith("av")
            and "alloc" in repr(c) + str(c)
            for c in chain
        ):
            return f"WRONG: it asked for memory: {chain!r}"
        if type(error) not in (ValueError, FileNotFoundError):
            return f"WRONG: {error!r} is no sentence of ours"
        if "\n" in str(error) or len(str(error)) > 600 or len(str(error)) < 20:
            return f"WRONG: not one sentence: {error!r}"
        return f"refused: {error}"
    except BaseException as error:  # noqa: BLE001
        return f"WRONG: {type(error).__name__}: {error}"[:300].replace("\n", " ")
    return "ok"


def memory(which):
    """Bytes that the process holds (VmRSS), the most of late (VmHWM), its addresses (VmPeak)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{which}:\s+(\d+)", status)[1])


def measured(path):
    """How reading a file ended, with the bytes and the seconds of the processor that it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is forgotten
    before, start = memory("VmRSS"), time.process_time()
    found = verdict(read, path)
    seconds, n_bytes = time.process_time() - start, max(0, memory("VmHWM") - before)
    if n_bytes > LARGE or seconds > SLOW:
        found = f"WRONG: {n_bytes / 1e6:.0f} MB, {seconds:.1f} s; {found}"
    return f"{found} | {n_bytes / 1e6:.1f} MB, {seconds:.3f} s"


def child(folder, first, count):
    """Read cases one after the other; each prints a line before and a line after."""
    torch.set_num_threads(1)
    files = valid_files(folder)
    for file in files:
        verdict(read, file)  # libraries are loaded before memory is measured
    resource.setrlimit(resource.RLIMIT_AS, (int(memory("VmPeak") + CEILING),) * 2)
    for number in range(first, first + count):
        name, data = damaged(number, files)
        path = folder / f"case-{name}"
        path.write_bytes(data)
        print(number, name, "begins", flush=True)
        faulthandler.dump_traceback_later(HANGS, exit=True)
        found = measured(path)
        faulthandler.cancel_dump_traceback_later()
        if (folder / "canary").exists():
            (folder / "canary").unlink()
            found = f"WRONG: it ran code; {found}"
        print(number, name, found, flush=True)


def run(code, *arguments):
    """Python in a child process: its lines, and how it ended."""
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {sys.path!r}; import fuzz as f; {code}",
    ]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    hung = "Timeout" in done.stderr
    end = (
        "a hang"
        if hung
        else f"signal {-done.returncode}"
        if done.returncode < 0
        else f"exit {done.returncode}"
    )
    return (
        done.stdout.splitlines(),
        "" if done.returncode == 0 else f"{end}: {done.stderr.strip()[-300:]}",
    )


def fuzz(folder, first, count):
    """All lines; a child that dies leaves one for the case that killed it, and another goes on
    behind it.
    """
    lines, at, last = [], first, first + count
    while at < last:
        told, end = run(
            "f.child(f.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))",
            folder,
            at,
            last - at,
        )
        lines += [line for line in told if not line.endswith("begins")]
        if not end:
            break
        number, name, *_ = (told or [f"{at} nothing"])[-1].split(" ")
        lines.append(f"{number} {name} WRONG: {end}")
        at = int(number) + 1
    return lines


# Crafted files that claim far more than they hold -------------------------------------------------


def png(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def gif(width, height):
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"


def safetensors(tensors, metadata):
    """tensors : name → (dtype, shape, bytes)."""
    header, at = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + len(data)])
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values())


def claiming(**config):
    return safetensors(
        {"x": ("F32", [1], b"\0" * 4)}, dict(about=json.dumps(dict(family="nerv", config=config)))
    )


def xinc(facts, body=b""):
    packed = zlib.compress(json.dumps(facts | dict(crc=zlib.crc32(body))).encode(), 9)
    return packing.MAGIC + struct.pack("<I", len(packed)) + packed + body


def one_symbol(n, bits=8):
    """A tensor of n equal weights, coded in a few bytes."""
    counts = np.zeros(2**bits - 1, np.uint32)
    counts[0] = n
    head = zlib.compress(counts.tobytes(), 9)
    blob = struct.pack("<I", len(head)) + head
    config = dict(size=[16, 32], n_frames=3)
    return xinc(
        dict(
            family="nerv",
            config=config,
            tensors=[dict(name="x", shape=[n], bits=bits, step=1.0, bytes=len(blob))],
        ),
        blob,
    )


def saved(state, path):
    torch.save({"state_dict": state}, path)
    return path.read_bytes()


def spread(folder):
    """A NeRV whose tensors are one number each, spread over enormous shapes by strides of zero."""
    shapes = {"decoder.0.conv.downconv": (512 * 1000, 160, 1, 1), "head_layer": (3, 1000, 3, 3)}
    state = {f"{k}.weight": torch.zeros(1).expand(s) for k, s in shapes.items()}
    return saved(
        state | {f"{k}.bias": torch.zeros(1).expand(s[0]) for k, s in shapes.items()},
        folder / "spread.bin",
    )


def zipped(folder):
    """Weights in an archive that unfolds to a hundred times its length."""
    saved({"head_layer.weight": torch.zeros(10**7)}, folder / "plain.bin")
    with (
        zipfile.ZipFile(folder / "plain.bin") as old,
        zipfile.ZipFile(folder / "packed.bin", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return (folder / "packed.bin").read_bytes()


CRAFTED = {
    "gigapixels.png": lambda _: png(40_000, 40_000),
    "just-allowed.png": lambda _: png(9_990, 9_990),
    "gigapixels.gif": lambda _: gif(40_000, 40_000),
    "widest.gif": lambda _: gif(65_535, 65_535),
    "clip-large.safetensors": lambda _: safetensors(
        {"frames": ("U8", [1000, 3, 9999, 9999], b"")}, dict(clip="{}")
    ),
    "clip-deep.safetensors": lambda _: safetensors({}, dict(clip="[" * 100_000)),
    "clip-flat.safetensors": lambda _: safetensors(
        {"frames": ("U8", [0, 3, 16, 16], b"")},
        dict(clip='{"name": "x", "fps": 1, "segments": []}'),
    ),
    "model-size.safetensors": lambda _: claiming(size=[10**6, 10**6], n_frames=3),
    "model-frames.safetensors": lambda _: claiming(size=[128, 256], n_frames=10**30),
    "model-wide.safetensors": lambda _: claiming(
        size=[16, 32], n_frames=3, channels=[10**6, 10**6, 10**6, 10**6]
    ),
    "model-levels.safetensors": lambda _: claiming(size=[16, 32], n_frames=3, levels=2**30),
    "model-strides.safetensors": lambda _: claiming(size=[16, 32], n_frames=3, strides=[0, 2, 2]),
    "model-words.safetensors": lambda _: claiming(size="large", n_frames="many"),
    "model-deep.safetensors": lambda _: safetensors({}, dict(about="[" * 100_000)),
    "model-broken.safetensors": lambda _: safetensors({}, dict(about='{"family": "nerv"')),
    "model-list.safetensors": lambda _: safetensors({}, dict(family="[1]", config="[1]")),
    "equal.xinc": lambda _: one_symbol(4 * 10**9),
    "deflated.xinc": lambda _: (
        packing.MAGIC + struct.pack("<I", 1 << 20) + zlib.compress(b" " * 10**9, 9)
    ),
    "spread.pth": spread,
    "zipped.pth": zipped,
}


def crafted(folder):
    """Read the crafted files one after the other; each prints how it ended, and what it took."""
    torch.set_num_threads(1)
    for file in valid_files(folder):
        verdict(read, file)
    resource.setrlimit(resource.RLIMIT_AS, (int(memory("VmPeak") + CEILING),) * 2)
    for name in CRAFTED:
        print(f"{name} {measured(folder / f'case-{name}')}", flush=True)


def main(count, first=0):
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        write_valid(Path(folder))
        lines = fuzz(Path(folder), first, count)
    for line in lines:
        if "WRONG" in line or count == 1:
            print(line)
    print(summary(lines), f"{time.monotonic() - start:.0f} s in all")
    return sum("WRONG" in line for line in lines)


def summary(lines):
    """How many cases ended how, and the most that one took."""
    took = [re.search(r"\| ([\d.]+) MB, ([\d.]+) s$", line) for line in lines]
    most = max(float(found[1]) for found in took if found)
    longest = max(float(found[2]) for found in took if found)
    loaded = sum(" ok |" in line for line in lines)
    wrong = sum("WRONG" in line for line in lines)
    return (
        f"{len(lines):,} cases: {loaded:,} loaded, {len(lines) - loaded - wrong:,} refused in one "
        f"sentence, {wrong} wrong; at most {most:.1f} MB and {longest:.2f} s each;"
    )


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
