"""Cityscapes-VPS, VIPSeg and masks of one's own: small folders in exactly the published layouts,
read back and compared.
"""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import xinc_core as xc
from xinc_core.clips import (
    list_cityscapes_vps,
    list_vipseg,
    load_cityscapes_vps,
    load_masks,
    load_vipseg,
    save_clip,
)
from xinc_core.clips.geometry import Fit, majority
from xinc_core.util.paths import data_folder

H, W = 32, 64


def colour(ident):
    return np.array([ident % 256, ident // 256 % 256, ident // 65536], np.uint8)


def painted(codes, ids):
    """(H, W) codes → (H, W, 3), each in the colour that is its id."""
    out = np.zeros((*codes.shape, 3), np.uint8)
    for code, ident in ids.items():
        out[codes == code] = colour(ident)
    return out


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


# Cityscapes-VPS -----------------------------------------------------------------------------------

CITY_KINDS = [
    dict(id=0, name="road", supercategory="flat", isthing=0),
    dict(id=10, name="sky", supercategory="sky", isthing=0),
    dict(id=11, name="person", supercategory="human", isthing=1),
    dict(id=13, name="car", supercategory="vehicle", isthing=1),
]
ROAD, SKY, CROWD, PERSON, CAR, OTHER_CAR, CITY_VOID = (
    0,
    10,
    11,
    11000,
    13001,
    13002,
    255,
)  # as in panoptic_inst
CITY_IDS = {ROAD: 0x804080, SKY: 0x46, CROWD: 300, PERSON: 60_000, CAR: 142, OTHER_CAR: 70_000}


def street(n):
    """Codes of annotated frame n: the person is away in frames 2 and 3; the second car is only
    in frame 4.
    """
    codes = np.full((H, W), ROAD)
    codes[:10] = SKY
    codes[12:20, 4 * n : 4 * n + 9] = CAR
    codes[20:25, 40:47] = CROWD
    codes[-3:, -5:] = CITY_VOID
    if n not in (2, 3):
        codes[15:26, 30:33] = PERSON
    if n == 4:
        codes[26:30, 2:8] = OTHER_CAR
    return codes


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """Two videos of 30 images each, every 5th annotated; the 20th with the names of Cityscapes
    itself.
    """
    root, rng = tmp_path_factory.mktemp("cityscapes_vps"), np.random.default_rng(0)
    images, annotations = [], []
    for video, first in (("0005", 1732), ("0010", 4000)):
        for i in range(30):
            name = f"frankfurt_000000_{first + i:06d}"
            save(
                rng.integers(0, 256, (H, W, 3), dtype=np.uint8),
                root / "val" / "img_all" / f"{name}_leftImg8bit.png",
            )
            if i % 5 != 4:
                continue
            codes, key = street(i // 5), f"{video}_{i:04d}_{name}"
            mask, image = (
                ("gtFine_color", "leftImg8bit") if i == 19 else ("final_mask", "newImg8bit")
            )
            save(codes.astype(np.uint16), root / "val" / "panoptic_inst" / f"{key}_{mask}.png")
            ids = {
                c: i + 5 * (video == "0010") for c, i in CITY_IDS.items()
            }  # ids go on from video to video
            save(painted(codes, ids), root / "val" / "panoptic_video" / f"{key}_{mask}.png")
            present = [c for c in CITY_IDS if (codes == c).any()]
            infos = [
                dict(
                    id=ids[c],
                    category_id=c if c < 1000 else c // 1000,
                    iscrowd=int(c == CROWD),
                    area=int((codes == c).sum()),
                )
                for c in present
            ]
            images.append(dict(id=key, width=W, height=H, file_name=f"{key}_{image}.png"))
            annotations.append(
                dict(image_id=key, file_name=f"{key}_{mask}.png", segments_info=infos)
            )
    table = dict(images=images, annotations=annotations, categories=CITY_KINDS)
    (root / "panoptic_gt_val_city_vps.json").write_text(json.dumps(table))
    return root


def test_cityscapes_vps_is_read_as_a_clip(cityscapes):
    assert list_cityscapes_vps(cityscapes) == {"0005": 6, "0010": 6}
    clip = load_cityscapes_vps(cityscapes, "0005", size=(H, W))
    truth = np.stack([street(n) for n in range(6)])
    for code, ident in CITY_IDS.items():
        assert ((clip.labels == ident).numpy() == (truth == code)).all(), code
    assert ((clip.labels == 0).numpy() == (truth == CITY_VOID)).all()
    kinds = {s.name: (s.category, s.is_thing) for s in clip.segments.values()}
    assert kinds == {
        "road": ("road", False),
        "sky": ("sky", False),
        "car 1": ("car", True),
        "car 2": ("car", True),
        "person 1": ("person", True),
        "person (crowd)": ("person", False),
    }
    picture = Image.open(sorted((cityscapes / "val" / "img_all").glob("*_00173*"))[4])
    assert (clip.frames[0].permute(1, 2, 0) * 255).round().byte().numpy().tolist() == np.asarray(
        picture
    ).tolist()
    assert clip.fps == pytest.approx(3.4) and load_cityscapes_vps(cityscapes, "0005").size == (
        128,
        256,
    )


def test_an_instance_that_leaves_and_returns_keeps_its_id(cityscapes):
    clip = load_cityscapes_vps(cityscapes, "0005", size=(H, W))
    (person,) = (i for i, s in clip.segments.items() if s.name == "person 1")
    assert (clip.labels == person).flatten(1).any(1).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


def same_partition(a, b):
    """Whether two label maps tell the same regions apart, and void is void in both; the pairs of
    ids.
    """
    pairs = set(zip(a.flatten().tolist(), b.flatten().tolist()))
    assert len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})
    assert (0, 0) in pairs
    return pairs


def test_both_encodings_of_cityscapes_vps_tell_the_same(cityscapes):
    options = dict(size=(16, 32))
    colours, codes = (
        load_cityscapes_vps(cityscapes, "0010", codes=c, **options) for c in (False, True)
    )
    for a, b in same_partition(colours.labels, codes.labels) - {(0, 0)}:
        one, other = colours.segments[a], codes.segments[b]
        assert (one.category, one.is_thing) == (other.category, other.is_thing)


def test_images_without_annotation_are_left_out_or_void(cityscapes):
    annotated = load_cityscapes_vps(cityscapes, "0005", size=(16, 32))
    whole = load_cityscapes_vps(cityscapes, "0005", size=(16, 32), every_frame=True)
    assert (len(annotated), len(whole), whole.fps) == (6, 30, 17.0)
    assert whole.labels[4::5].equal(annotated.labels) and whole.frames[4::5].equal(annotated.frames)
    rest = [i for i in range(30) if i % 5 != 4]
    assert (whole.labels[rest] == 0).all()


@pytest.mark.parametrize("start, stop, step", [(0, None, 1), (1, 5, 2), (3, 4, 1)])
def test_frames_of_a_dataset_are_chosen_like_a_clips(cityscapes, start, stop, step):
    whole = load_cityscapes_vps(cityscapes, "0005", size=(16, 32))
    part = load_cityscapes_vps(cityscapes, "0005", start, stop, step, size=(16, 32))
    assert part.frames.equal(whole.frames[start:stop:step]) and part.labels.equal(
        whole.labels[start:stop:step]
    )
    assert set(part.segments) == set(part.labels.unique().tolist()) - {0}


# VIPSeg -------------------------------------------------------------------------------------------

VIP_KINDS = [
    dict(id=0, name="wall", isthing=0),
    dict(id=13, name="floor", isthing=0),
    dict(id=60, name="person", isthing=1),
    dict(id=62, name="dog", isthing=1),
]
WALL, FLOOR, MAN, WOMAN, DOG, VIP_VOID = 1, 14, 6100, 6101, 6300, 0  # as in panomasks
VIP_IDS = {WALL: 7, FLOOR: 258, MAN: 0xC8C80B, WOMAN: 0xC8C80C, DOG: 70_000}
VIDEO = "12_AbCdEfG"


def room(t):
    codes = np.full((72, 140), WALL)
    codes[40:] = FLOOR
    codes[20:50, 20 + t : 35 + t] = MAN
    codes[20:50, 80:90] = WOMAN
    codes[:3] = VIP_VOID
    if t != 1:
        codes[50:60, 60:75] = DOG
    return codes


@pytest.fixture(scope="module")
def vipseg(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("VIPSeg_720P"), np.random.default_rng(1)
    images, annotations = [], []
    for t in range(4):
        codes, key = room(t), f"{10 * t:08d}"
        (root / "images" / VIDEO).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (9, 20, 3), dtype=np.uint8)).resize(
            (140, 72)
        )
        picture.save(root / "images" / VIDEO / f"{key}.jpg", quality=98)
        save(codes.astype(np.uint16), root / "panomasks" / VIDEO / f"{key}.png")
        save(painted(codes, VIP_IDS), root / "panomasksRGB" / VIDEO / f"{key}.png")
        present = [c for c in VIP_IDS if (codes == c).any()]
        infos = [
            dict(id=VIP_IDS[c], category_id=(c if c < 125 else c // 100) - 1, iscrowd=0)
            for c in present
        ]
        images.append(dict(id=key, width=140, height=72, file_name=f"{key}.png"))
        annotations.append(dict(image_id=key, file_name=f"{key}.png", segments_info=infos))
    table = dict(
        videos=[dict(video_id=VIDEO, images=images)],
        annotations=[dict(video_id=VIDEO, annotations=annotations)],
        categories=VIP_KINDS,
    )
    (root / "panoptic_gt_VIPSeg.json").write_text(json.dumps(table))
    return root


def test_vipseg_is_read_as_a_clip(vipseg):
    assert list_vipseg(vipseg) == {VIDEO: 4}
    clip = load_vipseg(vipseg, VIDEO, crop=(64, 128), size=(64, 128))
    truth = np.stack([room(t)[4:68, 6:134] for t in range(4)])
    for code, ident in VIP_IDS.items():
        assert ((clip.labels == ident).numpy() == (truth == code)).all(), code
    assert not (clip.labels == 0).any()  # the void rows lie outside the crop
    assert sorted(s.name for s in clip.segments.values()) == [
        "dog 1",
        "floor",
        "person 1",
        "person 2",
        "wall",
    ]
    assert {s.name for s in clip.segments.values() if s.is_thing} == {
        "dog 1",
        "person 1",
        "person 2",
    }
    dog = VIP_IDS[DOG]
    assert (clip.labels == dog).flatten(1).any(1).tolist() == [True, False, True, True]
    codes = load_vipseg(vipseg, VIDEO, crop=(70, 128), size=(32, 64), codes=True)
    colours = load_vipseg(vipseg, VIDEO, crop=(70, 128), size=(32, 64))
    assert {n.name for n in codes.segments.values()} == {n.name for n in colours.segments.values()}
    same_partition(colours.labels, codes.labels)


def test_the_papers_crop_is_the_middle_1280_of_a_full_frame(tmp_path, vipseg):
    """A 720×1280 frame, cropped to 640×1280 and reduced five times, as the paper does; a
    narrower video is refused.
    """
    with pytest.raises(ValueError, match="a crop of 640×1280 does not fit a frame of 72×140"):
        load_vipseg(vipseg, VIDEO)
    fit = Fit.plan((720, 1280), (128, 256), (640, 1280))
    marked = np.zeros((720, 1280), np.int64)
    marked[40:680] = 1
    assert (fit.labels(marked) == 1).all()


def broken(root, change, table):
    content = json.loads((root / table).read_text())
    change(content)
    return json.dumps(content)


def unlisted(table):
    table["annotations"][0]["segments_info"].pop()


def of_two_kinds(table):
    table["annotations"][1]["segments_info"][0]["category_id"] = 10


def without_category(table):
    table["categories"].pop(0)


def without_ids(table):
    del table["annotations"][0]["image_id"]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (unlisted, "which its table does not list"),
        (of_two_kinds, "keeps its id and its category"),
        (without_category, "a category that it does not list"),
        (without_ids, "not laid out as"),
    ],
)
def test_a_table_that_is_wrong_is_named(cityscapes, tmp_path, change, sentence):
    (tmp_path / "val").symlink_to(cityscapes / "val")
    name = "panoptic_gt_val_city_vps.json"
    (tmp_path / name).write_text(broken(cityscapes, change, name))
    with pytest.raises(ValueError, match=sentence):
        load_cityscapes_vps(tmp_path, "0005")


def test_datasets_that_are_not_there(cityscapes, vipseg, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        load_cityscapes_vps(tmp_path, "0005")
    with pytest.raises(ValueError, match="no video '0006' among the 2"):
        load_cityscapes_vps(cityscapes, "0006")
    with pytest.raises(ValueError, match="no video 'x' among the 1"):
        load_vipseg(vipseg, "x")
    with pytest.raises(ValueError, match="none of them lies in 9:"):
        load_vipseg(vipseg, VIDEO, start=9)
    (tmp_path / "panoptic_gt_VIPSeg.json").write_text("[]")
    with pytest.raises(ValueError, match="cannot be read as a panoptic table"):
        list_vipseg(tmp_path)


# Masks of one's own -------------------------------------------------------------------------------

N, SIZE = 7, (48, 80)
SHOWN = {
    0: (0, 0, 0),
    1: (255, 0, 0),
    2: (0, 255, 0),
    7: (0, 0, 255),
}  # in the pictures; no blend of these is another of them


def drawn(t):
    ids = np.zeros(SIZE, np.uint8)
    ids[5:30, 3 + 5 * t : 20 + 5 * t] = 1
    ids[25:45, 40:70] = 2
    ids[30:, :15] = 7
    return ids


def palette_png(ids, path):
    image = Image.fromarray(ids)
    image.putpalette(bytes(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8)))
    image.save(path)


WRITERS = {
    "palette": palette_png,
    "grey": lambda ids, path: save(ids, path),
    "16 bits": lambda ids, path: save(ids.astype(np.uint16) * 300, path),
    "colours": lambda ids, path: save(painted(ids, {i: i * 70_000 for i in SHOWN}), path),
}
FACTOR = {"palette": 1, "grey": 1, "16 bits": 300, "colours": 70_000}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Frames, and masks of every kind, drawn together."""
    root = tmp_path_factory.mktemp("home")
    for t in range(N):
        picture = np.array([SHOWN.get(i, (9, 9, 9)) for i in range(8)], np.uint8)[drawn(t)]
        save(picture, root / "frames" / f"frame{t + 1}.png")
        for kind, write in WRITERS.items():
            (root / kind).mkdir(exist_ok=True)
            write(drawn(t), root / kind / f"{t:05d}.png")
        (root / "named").mkdir(exist_ok=True)
        save(drawn(t), root / "named" / f"frame{t + 1}.png")
    return root


def agree(clip, factor=1):
    """Where a picture shows an object's own colour the label is that object; and that is so
    nearly everywhere.
    """
    pure = torch.zeros_like(clip.labels, dtype=torch.bool)
    for ident, colour in SHOWN.items():
        here = ((clip.frames * 255).round().movedim(1, -1) == torch.tensor(colour)).all(-1)
        assert (clip.labels[here] == ident * factor).all()
        pure |= here
    return pure.float().mean() > 0.75


TAKEN = [
    dict(),
    dict(size=(24, 40)),
    dict(size=(20, 28), crop=(40, 56)),
    dict(start=1, stop=6, step=2),
    dict(start=2, size=(24, 40), crop=(48, 80)),
]


@pytest.mark.parametrize("options", TAKEN)
@pytest.mark.parametrize("kind", WRITERS)
def test_masks_go_through_the_same_geometry_as_the_frames(home, kind, options):
    clip = load_masks(home / kind, xc.load_clip(home / "frames", **options))
    assert agree(clip, FACTOR[kind]) and clip.labels.shape == (len(clip), *clip.size)
    assert {s.id // FACTOR[kind] for s in clip.segments.values()} == {1, 2, 7}
    assert all(s.is_thing and s.category == "object" for s in clip.segments.values())


def test_masks_only_for_the_kept_frames_are_understood(home, tmp_path):
    for t in (1, 3, 5):
        save(drawn(t), tmp_path / f"{t}.png")
    clip = xc.load_clip(home / "frames", start=1, stop=6, step=2, size=(24, 40))
    assert load_masks(tmp_path, clip).labels.equal(load_masks(home / "grey", clip).labels)


def test_masks_as_small_as_the_clip_are_understood(home, tmp_path):
    clip = load_masks(home / "grey", xc.load_clip(home / "frames", size=(24, 40)))
    for t, ids in enumerate(clip.labels.numpy()):
        save(ids.astype(np.uint8), tmp_path / f"{t}.png")
    again = load_masks(tmp_path, xc.load_clip(home / "frames", size=(24, 40)))
    assert again.labels.equal(clip.labels)


def test_masks_that_share_the_frames_names_go_by_name(home, tmp_path):
    """Also where the order would say otherwise: mask 3 is named first."""
    for t in range(N):
        save(drawn(t), tmp_path / f"frame{t + 1}.png")
    save(drawn(0), tmp_path / "a_stranger.png")
    clip = xc.load_clip(home / "frames")
    assert load_masks(tmp_path, clip).labels.equal(load_masks(home / "grey", clip).labels)
    (tmp_path / "frame4.png").unlink()
    with pytest.raises(ValueError, match="there is none for 'frame4'"):
        load_masks(tmp_path, clip)


def test_a_cut_clip_still_finds_its_masks(home):
    clip = xc.load_clip(home / "frames", start=1)
    cut = clip[1:5:2]
    assert load_masks(home / "grey", cut).labels.equal(
        load_masks(home / "grey", clip).labels[1:5:2]
    )
    assert cut.fps == clip.fps / 2


def test_a_saved_clip_is_told_how_it_was_taken(home, tmp_path):
    options = dict(start=1, stop=6, step=2, size=(20, 28), crop=(40, 56))
    clip = xc.load_clip(home / "frames", **options)
    save_clip(clip, tmp_path / "clip.safetensors")
    saved = xc.load_clip(tmp_path / "clip.safetensors")
    assert saved.taken is None
    masked = load_masks(home / "grey", saved, **options)
    assert masked.labels.equal(load_masks(home / "grey", clip).labels)
    save_clip(masked, tmp_path / "masked.safetensors")
    again = xc.load_clip(tmp_path / "masked.safetensors")
    assert (
        again.labels.equal(masked.labels)
        and again.segments == masked.segments
        and again.frames.equal(clip.frames)
    )


def test_objects_can_be_named(home):
    clip = load_masks(
        home / "grey", xc.load_clip(home / "frames"), names={1: "person", 2: "car", 7: "person"}
    )
    assert {i: s.name for i, s in clip.segments.items()} == {
        1: "person 1",
        2: "car 1",
        7: "person 2",
    }


@pytest.mark.parametrize("where", ["table", "folder", "beside"])
def test_coco_masks_are_read_as_the_shipped_ones(tmp_path, where):
    """The courtyard's own annotation, given as its table, as the folder that holds it, or as the
    folder beside it.
    """
    shipped, source = xc.load_clip("courtyard"), data_folder() / "clips" / "courtyard"
    plain = xc.load_clip(source / "frames_128x256", stop=5)
    if where == "folder":
        (tmp_path / "pngs").symlink_to(source / "panoptic_128x256")
        for file in (source / "panoptic_128x256").iterdir():
            (tmp_path / file.name).symlink_to(file)
        (tmp_path / "anything.json").symlink_to(source / "panoptic_128x256.json")
    folder = dict(
        table=source / "panoptic_128x256.json", folder=tmp_path, beside=source / "panoptic_128x256"
    )[where]
    clip = load_masks(folder, plain)
    assert clip.labels.equal(shipped.labels[:5])
    for ident, segment in clip.segments.items():
        own = shipped.segments[ident]
        assert (segment.category, segment.is_thing) == (own.category, own.is_thing)


def test_masks_that_do_not_fit_get_one_sentence(home, tmp_path):
    clip = xc.load_clip(home / "frames", stop=3)
    for folder, size, count in (("few", SIZE, 2), ("small", (24, 39), 3)):
        for t in range(count):
            save(np.ones(size, np.uint8), tmp_path / folder / f"{t}.png")
    save(
        np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        tmp_path / "photos" / "a.png",
    )
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes((home / "grey" / "00000.png").read_bytes()[:60])
    (tmp_path / "bare").mkdir()
    (tmp_path / "table.json").write_text("{}")
    cases = [
        ("gone", clip, {}, FileNotFoundError, "there are no masks at"),
        ("few", clip, {}, ValueError, "holds 2 masks, but the clip has 3 frames, taken from 7"),
        ("small", clip, {}, ValueError, "have 24×39 pixels, but the clip has 48×80"),
        ("photos", clip[:1], {}, ValueError, "different ids, so it is a picture, not a mask"),
        ("damaged", clip[:1], {}, ValueError, "cannot be read as an image"),
        ("bare", clip, {}, ValueError, "holds no images"),
        ("table.json", clip, {}, ValueError, "cannot be read as a panoptic table"),
        (
            home / "grey",
            clip,
            dict(names={1: "cat"}),
            ValueError,
            "hold number 2, which names does not list",
        ),
    ]
    for folder, of, options, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            load_masks(tmp_path / folder, of, **options)


# Resizing never blends labels ---------------------------------------------------------------------

label_maps = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1)).map(
    lambda shape: np.random.default_rng(shape[2]).choice([0, 3, 70_000, 2**24 - 1], shape[:2])
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(label_maps, st.integers(1, 15), st.integers(1, 15))
def test_resized_labels_are_labels(ids, h, w):
    small = majority(ids, (h, w))
    assert small.shape == (h, w) and set(np.unique(small)) <= set(np.unique(ids))
    renamed = majority(2**24 - ids, (h, w))  # other names, in another order, for the same regions
    assert (renamed == 2**24 - small).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(label_maps, st.integers(1, 4), st.integers(1, 4))
def test_enlarging_and_reducing_again_changes_nothing(ids, a, b):
    large = majority(ids, (ids.shape[0] * a, ids.shape[1] * b))
    assert (large == ids.repeat(a, 0).repeat(b, 1)).all()
    assert (majority(large, ids.shape) == ids).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99)
)
def test_a_pixel_takes_the_label_that_covers_most_of_it(h, w, a, b, seed):
    """The literal version: count in each block; of equals the one that comes first in the mask."""
    ids = np.random.default_rng(seed).integers(0, 3, (h * a, w * b))
    order = list(dict.fromkeys(ids.ravel().tolist()))
    small = majority(ids, (h, w))
    for r in range(h):
        for c in range(w):
            block = ids[r * a : r * a + a, c * b : c * b + b].ravel().tolist()
            assert small[r, c] == max(order, key=block.count)
