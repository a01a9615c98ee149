"""Damaged and crafted files of every kind end in a clip, a model or one sentence: see ``fuzz``."""

import struct

import fuzz
import pytest
import torch
from fuzz import CRAFTED, read, run, valid_files, verdict, write_valid

pytestmark = pytest.mark.slow

CASES = 1_000


# Tests --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_valid(folder)
    return folder


def test_the_valid_files_load(folder):
    for file in valid_files(folder):
        assert verdict(read, file) == "ok" or file.stem in ("evil", "old"), file.name


def test_damaged_files_end_in_one_sentence(folder):
    lines = fuzz.fuzz(folder, 0, CASES)
    assert len(lines) == CASES
    assert not [line for line in lines if "WRONG" in line]
    print(fuzz.summary(lines))
    loaded = sum(" ok |" in line for line in lines)
    assert (
        0.02 * CASES < loaded < 0.6 * CASES
    )  # damage is neither too gentle nor too coarse to say anything


def test_the_canary_sings_where_a_file_is_trusted(folder):
    """A control: the payload does run when it is loaded carelessly, in both formats."""
    for name in ("evil.pth", "evil.ckpt"):
        torch.load(folder / name, weights_only=False)
        (folder / "canary").unlink()


def test_a_crash_is_seen(folder):
    told, end = run("print('7 x begins', flush=True); import ctypes; ctypes.string_at(0)")
    assert told == ["7 x begins"] and end.startswith("signal 11")


def test_a_hang_is_seen():
    told, end = run("f.faulthandler.dump_traceback_later(1, exit=True); sum(range(10**12))")
    assert end.startswith("a hang")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        struct.error("x"),
        ZeroDivisionError("x"),
        MemoryError(),
        ValueError("a\nb" * 20),
    ],
)
def test_an_exception_of_the_wrong_kind_is_seen(error):
    def load(_):
        raise error

    assert verdict(load, None).startswith("WRONG")


@pytest.fixture(scope="module")
def ends(folder):
    for name, make in CRAFTED.items():
        (folder / f"case-{name}").write_bytes(make(folder))
    told, end = run("f.crafted(f.Path(sys.argv[1]))", folder)
    assert not end, end
    return dict(line.split(" ", 1) for line in told)


@pytest.mark.parametrize("name", CRAFTED)
def test_a_file_that_claims_too_much_is_refused_before_memory_is_taken(name, ends):
    assert ends[name].startswith("refused: ")
