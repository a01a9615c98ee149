"""Files whose headers claim more than they hold: refused in one sentence, before any memory is
taken.

Headers with valid checksums are drawn with hostile values: shapes that cancel or overflow, bits
that no writer writes, bools and fractions in the place of whole numbers, enormous networks.
"""

import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xinc_core as xc
from xinc_core.clips import load_masks
from xinc_core.models import FFN, SIREN, HNeRV, NeRV
from xinc_core.storage.compressed import MAGIC
from xinc_core.storage.headers import read_header

MOST_BYTES = 100e6  # of memory that a small file may take

# Values that a header may hold in the place of a number
HUGE = [10**6, 10**8, 2**31 - 1, 2**31, 2**62, 2**63 - 1, 2**64, 10**12, 10**30]
NUMBERS = st.sampled_from([*HUGE, -1, -(2**31), -(2**63), 0, 1, 2, 3, 7, 8, 400, 1000, 65536])
STRANGE = st.sampled_from(
    [
        True,
        False,
        None,
        0.5,
        3.0,
        1e308,
        -0.0,
        "8",
        "",
        "nan",
        [],
        [1],
        {},
        {"a": 1},
        [[]],
        "x" * 99,
    ]
)
INFINITE = st.sampled_from([float("nan"), float("inf"), -float("inf")])
VALUES = st.one_of(NUMBERS, STRANGE, INFINITE)
SHAPES = st.one_of(
    st.lists(NUMBERS, max_size=5),
    st.sampled_from([[-2, -3], [-1, 6], [-1, -6, 1], [2**32, 2**32], [0, 10**18], [1] * 70]),
    VALUES,
)


def sentence(call):
    """How a call ends: "loaded", or its error: one sentence; little memory is taken."""
    before = resident("VmRSS", forget=True)
    try:
        call()
        said = "loaded"
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        assert type(error) in (ValueError, FileNotFoundError), repr(error)
        assert "\n" not in said and 20 < len(said) < 600, said
    assert resident("VmHWM") - before < MOST_BYTES, said
    return said


def resident(which, forget=False):
    """The memory that the process holds (VmRSS), or the most since it was last forgotten (VmHWM),
    in bytes; 0 where the system does not say.
    """
    if not Path("/proc/self/status").exists():
        return 0
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{which}:\s+(\d+)", status)[1])


def packed(facts, body=b""):
    """A compressed model with this header, whose checksum is right."""
    header = zlib.compress(json.dumps(facts | dict(crc=zlib.crc32(body))).encode(), 9)
    return MAGIC + struct.pack("<I", len(header)) + header + body


def symbols(n, bits):
    """n equal symbols at so many bits, in a few bytes."""
    counts = np.zeros(2 ** min(bits, 12) - 1, np.uint32)
    counts[0] = n % 2**32
    head = zlib.compress(counts.tobytes(), 9)
    return struct.pack("<I", len(head)) + head


def plain(header, body=b""):
    """A .safetensors file with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


SMALL = {
    "ffn": lambda: FFN(FFN.Config(size=(16, 32), width=6)),
    "siren": lambda: SIREN(SIREN.Config(size=(16, 32), width=6)),
    "nerv": lambda: NeRV(
        NeRV.Config(size=(16, 32), n_frames=3, strides=(4, 2), channels=(3, 4, 2), levels=5)
    ),
    "hnerv": lambda: HNeRV(
        HNeRV.Config(
            size=(16, 32),
            n_frames=3,
            strides=(4, 2),
            channels=(3, 4, 2),
            kernels=(1, 3),
            embedding=2,
        )
    ),
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """A file of every family, plain and compressed, which load."""
    folder = tmp_path_factory.mktemp("valid")
    for name, make in SMALL.items():
        torch.manual_seed(0)
        model = make()
        xc.save_model(model, folder / f"{name}.safetensors")
        xc.compress(model, folder / f"{name}.xinc")
        for ending in (".safetensors", ".xinc"):
            xc.load_model(folder / f"{name}{ending}")
    return folder


def often(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


# Configurations -----------------------------------------------------------------------------------

FIELDS = [
    "size",
    "n_frames",
    "width",
    "depth",
    "strides",
    "channels",
    "kernel",
    "kernels",
    "levels",
]
FIELDS += ["embedding", "encoder", "base", "scale", "w0", "first_w0", "output"]
LISTS = st.one_of(
    st.lists(NUMBERS, max_size=4),
    st.sampled_from([[1] * 100, [1] * 5000, [10**6] * 4, [2**31 - 1] * 60, [10**4, 10**4]]),
)
CHANGES = st.dictionaries(st.sampled_from(FIELDS), st.one_of(VALUES, LISTS), min_size=1, max_size=3)


@pytest.mark.parametrize("ending", [".safetensors", ".xinc"])
@pytest.mark.parametrize("family", SMALL)
@given(changes=CHANGES)
@often(40)
def test_a_configuration_cannot_ask_for_more_than_its_file_holds(
    valid, tmp_path, family, ending, changes
):
    source, path = valid / f"{family}{ending}", tmp_path / f"changed{ending}"
    data = source.read_bytes()
    facts = read_header(source)
    facts["config"] = facts["config"] | changes
    if ending == ".xinc":
        (length,) = struct.unpack("<I", data[5:9])
        path.write_bytes(packed(facts, data[9 + length :]))
    else:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"] = dict(about=json.dumps(facts))
        path.write_bytes(plain(header, data[8 + length :]))
    sentence(lambda: xc.load_model(path))


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize(
    "fact", ["family", "config", "frame", "clip_checksum", "flipped", "tensors", "crc", "psnr"]
)
@given(value=VALUES)
@often(10)
def test_any_fact_may_be_anything(valid, tmp_path, family, fact, value):
    data = (valid / f"{family}.xinc").read_bytes()
    (length,) = struct.unpack("<I", data[5:9])
    facts, body = read_header(valid / f"{family}.xinc"), data[9 + length :]
    header = json.dumps(facts | {fact: value}).encode()
    deflated = zlib.compress(header)
    path = tmp_path / "changed.xinc"
    path.write_bytes(MAGIC + struct.pack("<I", len(deflated)) + deflated + body)
    sentence(lambda: xc.load_model(path))


# Entries of tensors -------------------------------------------------------------------------------


@given(
    shape=SHAPES,
    bits=st.one_of(st.sampled_from([2, 8, 12, 16, 32, 1, 13, 64, -8]), VALUES),
    step=st.one_of(st.just(1.0), VALUES),
    n=st.sampled_from([0, 1, 6, 10**6, 4 * 10**9, 2**32 - 1]),
    n_bytes=st.one_of(st.none(), VALUES),
)
@often(150)
def test_an_entry_of_a_compressed_model_is_checked_before_it_is_unpacked(
    tmp_path, shape, bits, step, n, n_bytes
):
    body = symbols(n, bits if isinstance(bits, int) and 2 <= bits <= 12 else 8)
    entry = dict(name="head.bias", shape=shape, bits=bits, step=step)
    entry["bytes"] = len(body) if n_bytes is None else n_bytes
    config = dict(size=[16, 32], n_frames=3, strides=[4, 2], channels=[3, 4, 2], levels=5)
    path = tmp_path / "entry.xinc"
    path.write_bytes(packed(dict(family="nerv", config=config, tensors=[entry, entry][:1]), body))
    said = sentence(lambda: xc.load_model(path))
    assert said != "loaded"


@given(
    kind=st.sampled_from(["U8", "I32", "F32", "F16", "I64", "C64", "F8_E4M3", 5, None]),
    shape=SHAPES,
    offsets=st.one_of(st.lists(NUMBERS, max_size=3), st.just([0, 24]), VALUES),
    labels=st.booleans(),
)
@often(150)
def test_an_entry_of_a_clip_or_a_model_is_checked_before_it_is_read(
    tmp_path, kind, shape, offsets, labels
):
    entry = dict(dtype=kind, shape=shape, data_offsets=offsets)
    clip = dict(clip=json.dumps(dict(name="x", fps=10, segments=[])))
    header = {"labels" if labels else "frames": entry, "__metadata__": clip}
    path = tmp_path / "clip.safetensors"
    path.write_bytes(plain(header, b"\1" * 24))
    assert sentence(lambda: xc.load_clip(path)) != "loaded"
    about = dict(about=json.dumps(dict(family="ffn", config=dict(size=[16, 32], width=6))))
    path.write_bytes(plain({"B": entry, "__metadata__": about}, b"\1" * 24))
    assert sentence(lambda: xc.load_model(path)) != "loaded"


SEGMENT = dict(id=1, name="dog 1", category="dog", is_thing=True)


@given(fact=st.sampled_from(["name", "fps", "segments", *SEGMENT]), value=st.one_of(VALUES, LISTS))
@often(120)
def test_facts_of_a_clip_may_be_anything(tmp_path, fact, value):
    segment = SEGMENT | ({fact: value} if fact in SEGMENT else {})
    facts = dict(name="x", fps=10, segments=[segment]) | {fact: value}
    shape = [1, 3, 16, 32]
    entry = dict(dtype="U8", shape=shape, data_offsets=[0, 1536])
    path = tmp_path / "clip.safetensors"
    header = {"frames": entry, "__metadata__": dict(clip=json.dumps(facts))}
    path.write_bytes(plain(header, b"\1" * 1536))
    said = sentence(lambda: repr(xc.load_clip(path)))
    if said == "loaded":
        clip = xc.load_clip(path)
        assert isinstance(clip.name, str) and 0 < clip.fps < 1e6
        assert all(type(ident) is int for ident in clip.segments)


TABLES = ["annotations", "categories", "images", "segments_info", "id", "category_id", "name"]


@given(key=st.sampled_from([*TABLES, "isthing", "file_name", "image_id"]), value=VALUES)
@often(100)
def test_a_table_of_masks_may_hold_anything(tmp_path, key, value):
    info = dict(id=1, category_id=1)
    entry = dict(image_id=1, file_name="0.png", segments_info=[info])
    category = dict(id=1, name="ball", isthing=1)
    table = dict(images=[dict(id=1, file_name="0.png")])
    table |= dict(annotations=[entry], categories=[category])
    for part in (info, entry, category, table):
        if key in part:
            part[key] = value
    (tmp_path / "table.json").write_text(json.dumps(table))
    (tmp_path / "0.png").write_bytes(b"")
    clip = xc.Clip("x", torch.zeros(1, 3, 16, 16))
    assert sentence(lambda: load_masks(tmp_path / "table.json", clip)) != "loaded"


# Long and deep ------------------------------------------------------------------------------------

BOMBS = {
    "deep": "[" * 100_000,
    "many lists": "[" + "[]," * 300_000 + "[]]",
    "long number": "9" * 900_000,
    "one text": '"' + "x" * 900_000 + '"',
}


@pytest.mark.parametrize("name", BOMBS)
def test_long_and_deep_headers_take_no_memory(name, tmp_path):
    bomb = BOMBS[name]
    for ending, data in {
        ".safetensors": struct.pack("<Q", len(bomb)) + bomb.encode(),
        ".xinc": MAGIC
        + struct.pack("<I", len(zlib.compress(bomb.encode())))
        + zlib.compress(bomb.encode()),
    }.items():
        path = tmp_path / f"bomb{ending}"
        path.write_bytes(data)
        assert sentence(lambda path=path: xc.load_model(path)) != "loaded"
    path = tmp_path / "about.safetensors"
    path.write_bytes(plain({"__metadata__": dict(about=bomb, clip=bomb)}))
    for load in (xc.load_model, xc.load_clip):
        assert sentence(lambda load=load: load(path)) != "loaded"


def test_a_header_that_unfolds_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.xinc"
    bomb = zlib.compress(b" " * 10**8, 9)
    path.write_bytes(MAGIC + struct.pack("<I", len(bomb)) + bomb)
    assert "larger than it may be" in sentence(lambda: xc.load_model(path))


def test_networks_of_zeros_can_still_be_read_back(tmp_path):
    """The bound of weights for each byte is above what an honest writer reaches."""
    model = NeRV(NeRV.Config(size=(128, 256), n_frames=40))
    for parameter in model.parameters():
        parameter.data.zero_()
    xc.compress(model, tmp_path / "zeros.xinc", bits=2)
    assert xc.load_model(tmp_path / "zeros.xinc").config == model.config
