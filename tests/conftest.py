"""What every test may ask for: files beside the checkout, and small networks of many kinds.

Three variables say what this machine has:

``XINC_REFERENCE_DIR``
    A folder with the authors' checkpoints and the values that their code computes.
``XINC_CLIPS``
    A folder of real videos.
``XINC_REQUIRE_ALL``
    Set, nothing may be missing: a test that would be skipped fails.
"""

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xinc_core as xc
from xinc_core.models import FFN, SIREN, HNeRV, Layer, NeRV, identity


def missing(what: str) -> None:
    """Skip, visibly; fail where nothing may be missing."""
    if os.environ.get("XINC_REQUIRE_ALL"):
        pytest.fail(what)
    pytest.skip(what)


def folder_of(variable: str, unseen: str) -> Path:
    """The folder that an environment variable names; where it is not set, ``missing``."""
    folder = os.environ.get(variable)
    if not folder:
        missing(f"{variable} is not set: {unseen}")
    return Path(folder)


def pytest_addoption(parser) -> None:
    """``--clip city``: what is tried on a real clip is tried on this one."""
    parser.addoption("--clip", help="a clip's name, instead of box and courtyard")


def pytest_generate_tests(metafunc) -> None:
    """Laws that need a real picture hold on any: two by default, of which one has clear terms."""
    if "real_clip" in metafunc.fixturenames:
        named = metafunc.config.getoption("--clip")
        names = [named] if named else ["box", "courtyard"]
        metafunc.parametrize("real_clip", names, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Signals arrive, for the tests and the commands that they start.

    A shell starts what runs in the background with Ctrl-C ignored, and nohup ignores SIGHUP.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup() -> None:
    """What a test and its fixtures draw by lot does not depend on which tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The authors' checkpoint and values computed with their code."""
    return folder_of("XINC_REFERENCE_DIR", "the authors' reference values were not compared")


@pytest.fixture(scope="session")
def videos() -> Path:
    """Real videos, too large to ship."""
    return folder_of("XINC_CLIPS", "no real video was read")


class Chain(nn.Module):
    """A hand-made convolutional network of any depth, kernels, strides and activations over a
    fixed random input.
    """

    family, for_video = "chain", False

    def __init__(self, grid, channels, strides, kernels, activations, bias=True, neurons="kernels"):
        super().__init__()
        self.x = nn.Parameter(torch.randn(1, channels[0], *grid))
        shapes = zip(channels, channels[1:], strides, kernels)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b * s * s, k, padding=k // 2, bias=bias) for a, b, s, k in shapes
        )
        self.strides, self.activations, self.neurons = strides, activations, neurons

    def encode(self, t):
        return t

    def stem(self, code):
        return self.x

    def layers(self):
        parts = zip(self.convs, self.strides, self.activations)
        return tuple(
            Layer(f"l{n}", c.weight, c.bias, s, a, self.neurons)
            for n, (c, s, a) in enumerate(parts, 1)
        )

    def forward(self, t):
        x = self.x
        for layer in self.layers():
            x = layer(x)
        return x


def gaussian(x):
    return torch.exp(-(x**2))


def hnerv(size=(12, 18), **options):
    return HNeRV.Config(size=size, n_frames=2, embedding=2, **options)


def networks() -> dict:
    """Small networks of many shapes, float64, weights large enough for the activations to bend."""
    built = {
        "ffn": lambda: FFN(FFN.Config(size=(6, 9), width=7, scale=2.0)),
        "nerv": lambda: NeRV(
            NeRV.Config(size=(24, 16), n_frames=3, strides=(4, 2), channels=(3, 4, 2), levels=4)
        ),
        "nerv_deep": lambda: NeRV(
            NeRV.Config(
                size=(16, 24), n_frames=2, strides=(2, 1, 2, 2), channels=(3, 2, 3, 2, 2), levels=3
            )
        ),
        "nerv_wide_kernel": lambda: NeRV(
            NeRV.Config(
                size=(18, 12), n_frames=2, strides=(3, 2), channels=(2, 3, 2), kernel=5, levels=3
            )
        ),
        "siren": lambda: SIREN(SIREN.Config(size=(5, 8), width=6, depth=3, first_w0=3.0, w0=1.0)),
        "hnerv": lambda: HNeRV(hnerv(strides=(3, 1, 2), channels=(3, 4, 3, 2), kernels=(1, 3, 5))),
        "hnerv_tanh": lambda: HNeRV(
            hnerv((8, 12), strides=(2, 2), channels=(3, 2, 2), kernels=(5, 1), output="tanh")
        ),
        "one_block": lambda: NeRV(
            NeRV.Config(size=(10, 15), n_frames=2, strides=(5,), channels=(3, 2), levels=3)
        ),
        "mixed": lambda: Chain(
            (4, 3),
            (3, 2, 4, 3, 3),
            (2, 1, 3, 1),
            (1, 3, 5, 3),
            (F.silu, gaussian, torch.sin, identity),
        ),
        "no_bias": lambda: Chain(
            (5, 4), (2, 3, 2, 3), (2, 2, 1), (3, 3, 3), (F.relu, F.gelu, identity), bias=False
        ),
        "narrow": lambda: Chain(
            (1, 2), (2, 2, 2, 3), (4, 2, 1), (5, 5, 5), (F.gelu, F.gelu, identity)
        ),
        "deep_columns": lambda: Chain(
            (5, 6),
            (4, 3, 5, 3, 3),
            (1,) * 4,
            (1,) * 4,
            (F.relu, torch.sin, F.gelu, identity),
            neurons="columns",
        ),
    }
    return built


@pytest.fixture(params=list(networks()))
def network(request):
    torch.manual_seed(7)
    model = networks()[request.param]().double()
    for p in model.parameters():
        p.data.mul_(2.5)
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def shapes():
    return xc.load_clip("shapes")
