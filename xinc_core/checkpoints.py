"""Weights on disk: save, load, list; and the authors' files, read without executing anything in them.

A ``.safetensors`` file loads alone: its header carries family, configuration, clip, frame, seed, epochs, PSNR and
versions. Weights may be stored in half precision; they are float32 once loaded.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, fields
from math import isfinite, isqrt, prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .geometry import MOST_PIXELS, by
from .models import FFN, NeRV, family
from .packing import SUFFIX, read_facts, unpack
from .paths import replace_file, shelves

# What configurations in the authors' Lightning files are made of: names that are answered by an inert blank.
PLAIN = {f"builtins.{n}" for n in ("bool", "dict", "float", "int", "list", "set", "str", "tuple")}
PLAIN |= {"collections.defaultdict", "typing.Any", "pathlib.PosixPath"}
MOST_WEIGHTS = 10**8  # of a network in a file; a header that claims more is refused before any is allocated


def save_model(model: nn.Module, path: str | Path, half: bool = False, **facts) -> None:
    """Write weights and configuration to a ``.safetensors`` file.

    half : store float16; the caller answers for the loss. facts : what else the header should say (clip, seed, …).
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"a model's file ends in .safetensors, not as in {str(path)!r}")
    header = dict(family=model.family, config=asdict(model.config), torch=torch.__version__) | facts
    tensors = {k: (v.half() if half else v).contiguous().cpu() for k, v in model.state_dict().items()}
    # one entry: safetensors writes several in an order that changes from run to run
    replace_file(path, lambda f: save_file(tensors, f, metadata={"about": json.dumps(header)}))


def list_models() -> dict[str, dict]:
    """Names of the shipped models (and of the run's, in a study of your own), each with its header: family, clip, psnr, …"""
    files = {path.stem: path for shelf in reversed(shelves("models")) for path in shelf.glob("*.safetensors")}
    return {name: read_header(files[name]) for name in sorted(files)}


def find_model(name: str) -> Path | None:
    """The file of a model that is known by its name; None if there is none."""
    files = (shelf / f"{name}.safetensors" for shelf in shelves("models"))
    return next((file for file in files if file.is_file()), None)


def model_name(family: str, clip: str, seed: int = 1) -> str:
    """The name of a shipped model: seed 1 goes without saying."""
    return f"{family}-{clip}" + ("" if seed == 1 else f"-s{seed}")


def read_header(path: str | Path) -> dict:
    """The facts in a file's header; numbers and lists come back as such."""
    if Path(path).suffix == SUFFIX:
        return read_facts(path)
    with _opened(path) as file:
        header = file.metadata() or {}
    if "about" in header:
        return json.loads(header["about"])
    return {k: _parsed(v) for k, v in header.items() if k != "format"}


def _parsed(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _opened(path: str | Path):
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a .safetensors file: {error}") from None


def load_model(source: str | Path, size: tuple[int, int] | None = None, n_frames: int | None = None) -> nn.Module:
    """Load a model by its shipped name or from a file; weights frozen, float32, on the CPU.

    Parameters
    ----------
    source : str or Path
        A shipped name such as ``"nerv-courtyard"`` (seed 1) or ``"nerv-courtyard-s10"``; a ``.safetensors`` file; a file
        that ``compress`` wrote (``.xinc``); or one of the authors' ``.ckpt`` / ``.pth`` files, whose architecture is
        inferred from the tensors.
    size, n_frames
        (H, W) in pixels and number of frames: the authors' files carry neither, and a wrong one paints a wrong picture
        that cannot always be told from the file. FFN needs only ``size``. All other files know their own.

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence; a file that asks for foreign code is refused before any of it could run.
    """
    path = find_model(str(source)) or Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no model {str(source)!r}: neither a file nor one of {', '.join(list_models())}")
    own = path.suffix in (".safetensors", SUFFIX)
    if own and (size is not None or n_frames is not None):
        raise ValueError(f"{str(source)!r} carries its own size and length; size and n_frames are for the authors' files")
    try:
        model = _load_own(path) if own else _load_authors(path, size, n_frames)
    except (TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{str(source)!r} describes no network that can be built: {said}") from error
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{str(source)!r} holds values that are not finite, in {name!r}")
    return model.requires_grad_(False)


def _load_own(path: Path) -> nn.Module:
    header = read_header(path)
    if not {"family", "config"} <= header.keys():
        raise ValueError(f"{str(path)!r} has no family and config in its header; was it written by save_model?")
    kind = family(header["family"])
    config = _config(kind, header["config"], path)
    model = _blank(kind, config)
    if path.suffix == SUFFIX:
        tensors = unpacked(kind, config, unpack(path)[1])
    else:
        with _opened(path) as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    if not kind.for_video:
        model.frame = header.get("frame", 0)
    if "clip_checksum" in header and not header.get("flipped"):
        model.fitted_to = header["clip_checksum"]
    return _filled(model, tensors, path)


def _config(kind: type[nn.Module], values: dict, path: Path):
    """A configuration from a header, whose numbers may be anything."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    known = {f.name: str(f.type) for f in fields(kind.Config)}
    for name, value in values.items():
        if name in known and not _is(value, known[name]):
            raise ValueError(f"{str(path)!r} says that {name} is {value!r}, where {known[name]} is wanted")
    if prod(values["size"]) > MOST_PIXELS:
        raise ValueError(f"{str(path)!r} claims to paint {by(values['size'])} pixels, which is too large")
    return kind.Config(**{k: v for k, v in values.items() if k in known})


def _is(value, wanted: str) -> bool:
    """Whether a value is of a field's type, with whole numbers that can count something."""
    if wanted.startswith("tuple[int"):
        return isinstance(value, tuple) and all(_is(v, "int") for v in value) and (wanted.endswith("...]") or len(value) == 2)
    if wanted == "int":
        return isinstance(value, int) and 0 < value < 2**31
    return wanted != "float" or isinstance(value, int | float) and isfinite(value)


def packed(model: nn.Module) -> dict[str, Tensor]:
    """What a compressed file holds of a model: all its tensors, or what its family makes of them."""
    return model.packed() if hasattr(model, "packed") else model.state_dict()


def unpacked(kind: type[nn.Module], config, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state from what ``packed`` gave."""
    return kind.unpacked(config, tensors) if hasattr(kind, "unpacked") else tensors


def _blank(kind: type[nn.Module], config) -> nn.Module:
    """A network whose weights are about to be replaced; leaves the global random state alone. Counts before it allocates."""
    with torch.device("meta"):
        n = sum(value.numel() for value in kind(config).state_dict().values())
    if n > MOST_WEIGHTS:
        raise ValueError(f"a {kind.family} of {config} would have {n:,} weights, which is more than any that is read")
    with torch.random.fork_rng(devices=[]):
        return kind(config)


def _filled(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Copy tensors into the model, naming every one that is missing, extra or of another shape."""
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in tensors.items()}
    if wanted != got:
        wrong = sorted(k for k in wanted.keys() | got.keys() if wanted.get(k) != got.get(k))
        detail = "; ".join(f"{k}: expected {wanted.get(k, 'none')}, found {got.get(k, 'none')}" for k in wrong[:3])
        raise ValueError(f"{str(path)!r} does not fit a {model.family} of its description: {detail}")
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    return model


class _Blank:
    """Stands for a configuration object in a pickle: takes anything, does nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _blank_dict(*args) -> dict:
    """A mapping in such an object: the unpickler fills plain dicts only."""
    return {}


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``torch.save`` file, through torch's own restricted unpickler."""
    unreadable = f"{str(path)!r} cannot be read as a checkpoint of plain tensors"
    names: list[str] = []
    _check_archive(path)
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - the unpickler raises many kinds; each means that the file is unusable
        raise ValueError(unreadable) from None
    foreign = [n for n in names if n not in PLAIN and not n.startswith("omegaconf.")]
    if foreign:
        raise ValueError(f"{str(path)!r} asks for code that weights do not need ({foreign[0]}); it was not loaded")
    blanks = [(_blank_dict if n == "collections.defaultdict" else _Blank, n) for n in names]
    try:
        with torch.serialization.safe_globals(blanks):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001
        raise ValueError(unreadable) from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{str(path)!r} holds no tensors under 'state_dict'")
    if spread := [k for k, v in tensors.items() if v.numel() * v.element_size() > v.untyped_storage().nbytes()]:
        raise ValueError(f"{str(path)!r} claims more numbers than it holds, in {spread[0]!r}")
    return tensors


def _check_archive(path: Path) -> None:
    """Refuse what may take far more memory than the file is long: packed archives, and the format before PyTorch 1.6."""
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    try:
        size = sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) if archive else 0
    except Exception:  # noqa: BLE001 - damaged archives raise many kinds
        archive = False
    if not archive:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint of plain tensors: it is no whole file of PyTorch's since 1.6; "
            f"an older one can be loaded and saved again there"
        )
    if size > path.stat().st_size:
        raise ValueError(f"{str(path)!r} cannot be read as a checkpoint: it is packed, and would unfold to {size:,} bytes")


def _load_authors(path: Path, size, n_frames) -> nn.Module:
    if size is None:
        raise ValueError(f"{str(path)!r} carries no picture size: say size=(H, W), e.g. size=(128, 256)")
    numbers = (*size, 1 if n_frames is None else n_frames) if isinstance(size, tuple | list) else ()
    if len(numbers) != 3 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ValueError(f"size is (H, W) and n_frames a number, all whole and positive, not {size!r} and {n_frames!r}")
    state = {k.removeprefix("module.").replace("blocks.0.", ""): v for k, v in _state_dict(path).items()}
    if "model.positional_encoding.B" in state:
        return _authors_ffn(state, tuple(size), path)
    if any(k.startswith("head_layer") for k in state):
        if n_frames is None:
            raise ValueError(f"{str(path)!r} carries no length: say n_frames=…, the number of frames it was fitted to")
        return _authors_nerv(state, tuple(size), n_frames, path)
    raise ValueError(f"{str(path)!r} is neither an FFN nor a NeRV checkpoint; its first tensor is {next(iter(state))!r}")


def _authors_ffn(state: dict[str, Tensor], size: tuple[int, int], path: Path) -> nn.Module:
    rename = {"model.positional_encoding.B": "B"}
    for i in range(3):
        rename |= {f"model.net.{i}.linear.{p}": f"linears.{i}.{p}" for p in ("weight", "bias")}
    tensors = {rename.get(k, k): v for k, v in state.items()}
    model = _blank(FFN, FFN.Config(size=size, width=len(tensors["B"])))
    return _filled(model, tensors, path)


def _authors_nerv(state: dict[str, Tensor], size: tuple[int, int], n_frames: int, path: Path) -> nn.Module:
    rename = {"decoder.0.conv.downconv": "expand", "head_layer": "head"}
    n = 0
    while f"decoder.{n + 1}.conv.upconv.0.weight" in state:
        n += 1
        rename[f"decoder.{n}.conv.upconv.0"] = f"blocks.{n - 1}"
    tensors = {}
    for key, value in state.items():
        stem, _, last = key.rpartition(".")
        tensors[f"{rename.get(stem, stem)}.{last}"] = value
    try:
        inputs = [tensors[f"blocks.{i}.weight"].shape[1] for i in range(n)] + [tensors["head.weight"].shape[1]]
        outputs = [tensors[f"blocks.{i}.weight"].shape[0] for i in range(n)]
        strides = tuple(isqrt(o // c) for o, c in zip(outputs, inputs[1:]))
        config = NeRV.Config(
            size=size,
            n_frames=n_frames,
            strides=strides,
            channels=tuple(inputs),
            kernel=tensors["head.weight"].shape[-1],
            levels=tensors["expand.weight"].shape[1] // 2,
        )
    except KeyError as error:
        raise ValueError(f"{str(path)!r} lacks the tensor {error} of a NeRV") from None
    cells = tensors["expand.weight"].shape[0] / inputs[0]
    if cells != prod(config.grid):
        raise ValueError(
            f"{str(path)!r} starts from {cells:g} grid cells, but {size[0]}×{size[1]} with strides {strides} needs "
            f"{prod(config.grid)}; is the size right?"
        )
    return _filled(_blank(NeRV, config), tensors, path)
