"""Files are written whole or not at all: by two processes at once, after a killed one, on a full
disk, and into a folder that is not there.
"""

import errno
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.cli.trace import _save_maps
from xinc_core.clips import save_clip
from xinc_core.fitting import History
from xinc_core.models import FFN
from xinc_core.storage import fit_and_save
from xinc_core.study.figures import saving
from xinc_core.study.measuring.store import Address, Store
from xinc_core.util.files import held_alone, locked, replace_file, scratch_beside

fork = multiprocessing.get_context("fork")


def small_network():
    return FFN(FFN.Config(size=(16, 32), width=24))


def small_clip():
    return xc.Clip("small", torch.zeros(2, 3, 16, 32))


def save_chart(path):
    fig, ax = plt.subplots(figsize=(2, 2))
    ax.plot([0, 1])
    saving._write_chart(Image.new("RGB", (9, 9)), fig, path)
    plt.close(fig)


# Everything that writes a file for the user: its ending, and the call.
WRITERS = {
    "save_model": (".safetensors", lambda path: xc.save_model(small_network(), path)),
    "compress": (".xinc", lambda path: xc.compress(small_network(), path)),
    "save_clip": (".safetensors", lambda path: save_clip(small_clip(), path)),
    "History.to_csv": (".csv", lambda path: History([dict(epoch=1, psnr=30.0)]).to_csv(path)),
    "figures.save": (".png", save_chart),
    "torch.save": (".pt", lambda path: replace_file(path, lambda f: torch.save([1], f))),
    "np.savez": (".npz", lambda path: replace_file(path, lambda f: np.savez(f, x=np.ones(99)))),
}
writers = pytest.mark.parametrize("name", WRITERS)


def in_a_child(act, *arguments):
    """Start a process that calls ``act`` with a pipe's end; the process and the other end."""
    here, there = fork.Pipe()
    process = fork.Process(target=act, args=(there, *arguments))
    process.start()
    return process, here


# Two processes at once ----------------------------------------------------------------------------


class TwoMaps:
    """Stands for a layer of two neurons, whose maps come when the other process is ready."""

    name = "layer"
    shape = (2, 4, 5)

    def __init__(self, value, turn, pause):
        self.value, self.turn, self.pause = value, turn, pause

    def __len__(self):
        return 2

    def chunks(self):
        for neuron in range(2):
            self.turn.send("about to write")
            self.pause.recv()
            yield torch.tensor([neuron]), torch.full((1, 4, 5), self.value)


def write_maps(pipe, path, value):
    _save_maps(TwoMaps(value, pipe, pipe), path, dict(value=value))


def test_two_traces_to_one_file_never_mix_their_maps(tmp_path):
    path = tmp_path / "maps.npz"
    (one, to_one), (two, to_two) = (in_a_child(write_maps, path, value) for value in (1.0, 2.0))
    for _ in range(2):  # both write their maps of each neuron in turn
        for pipe in (to_one, to_two):
            assert pipe.recv() == "about to write"
        for pipe in (to_one, to_two):
            pipe.send("go on")
    for process in (one, two):
        process.join()
        assert process.exitcode == 0
    with np.load(path) as file:
        assert (file["maps"] == file["value"]).all()
    assert list(tmp_path.iterdir()) == [path]


def write_often(pipe, path, letter):
    for _ in range(50):
        replace_file(path, lambda file: file.write_bytes(letter * 100_000))


def test_readers_see_one_writers_file_whole(tmp_path):
    path = tmp_path / "file"
    replace_file(path, lambda file: file.write_bytes(b"c"))
    processes = [in_a_child(write_often, path, letter)[0] for letter in (b"a", b"b")]
    while any(process.is_alive() for process in processes):
        assert len(set(path.read_bytes())) == 1
    assert [process.exitcode for process in processes] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_two_fits_to_one_file_do_not_mix_model_and_history(tmp_path):
    path = tmp_path / "mine.safetensors"
    with (
        locked(tmp_path / ".mine.safetensors.lock"),
        pytest.raises(ValueError, match="another fit is being written to .*mine.safetensors"),
    ):
        fit_and_save("ffn", small_clip(), path, epochs=1, width=4, progress=False)
    fit_and_save("ffn", small_clip(), path, epochs=1, width=4, progress=False)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "mine.history.csv"}


def test_a_lock_that_is_deleted_is_still_held_by_one_alone(tmp_path):
    """Who opened the file just before it was deleted opens the new one."""
    path = tmp_path / "lock"

    def hold(pipe):
        with locked(path, keep=False):
            pipe.send("held")
            pipe.recv()

    process, pipe = in_a_child(hold)
    pipe.recv()
    with pytest.raises(ValueError, match="busy"), held_alone(path, "busy"):
        pass
    pipe.send("enough")
    process.join()
    assert not path.exists()
    with held_alone(path, "busy", keep=False):
        with pytest.raises(ValueError, match="busy"), held_alone(path, "busy"):
            pass


# Killed processes ---------------------------------------------------------------------------------


def write_half(pipe, path):
    with scratch_beside(path) as unfinished:
        unfinished.write_bytes(b"half")
        pipe.send("half written")
        pipe.recv()


def test_what_a_dead_process_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "file"
    (dead, from_dead), (alive, from_alive) = (in_a_child(write_half, path) for _ in range(2))
    for pipe in (from_dead, from_alive):
        pipe.recv()
    assert len(list(tmp_path.iterdir())) == 2
    os.kill(dead.pid, signal.SIGKILL)
    dead.join()
    replace_file(tmp_path / "another", lambda file: file.write_bytes(b"whole"))
    halves = [file for file in tmp_path.glob(".*/file") if file.read_bytes() == b"half"]
    assert len(halves) == 1 and len(list(tmp_path.iterdir())) == 2
    from_alive.send("go on")
    alive.join()
    assert [file.name for file in tmp_path.iterdir()] == ["another"]


def test_a_folder_that_was_left_before_it_was_locked_is_deleted(tmp_path):
    with scratch_beside(tmp_path / "file") as unfinished:
        name = unfinished.parent.name
    (tmp_path / name).mkdir()
    replace_file(tmp_path / "file", lambda file: file.write_bytes(b"whole"))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_names_as_long_as_a_disk_takes_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    replace_file(path, lambda file: file.write_bytes(b"whole"))
    assert path.read_bytes() == b"whole"


# No folder, no room -------------------------------------------------------------------------------


@writers
def test_a_folder_that_does_not_exist_is_named(name, tmp_path):
    ending, write = WRITERS[name]
    path = tmp_path / "nowhere" / f"file{ending}"
    with pytest.raises(FileNotFoundError) as refused:
        write(path)
    assert str(refused.value) == (
        f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}; "
        "make it first, or name another"
    )


def test_a_file_in_the_place_of_the_folder_and_a_folder_in_that_of_the_file(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="/file' is a file, not a folder$"):
        replace_file(tmp_path / "file" / "more", Path.touch)
    with pytest.raises(OSError, match="there is a folder of this name$"):
        replace_file(tmp_path / "folder", Path.touch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="nothing may be written into the folder"):
        replace_file(tmp_path / "file", Path.touch)
    tmp_path.chmod(0o700)


def write_with_little_room(pipe, name, path):
    """Write where no file may be longer than 64 bytes, which the system says as of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
    try:
        WRITERS[name][1](path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        pipe.send((type(error).__name__, str(error), getattr(error, "errno", None)))
    else:
        pipe.send("written")


@writers
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(name, tmp_path):
    path = tmp_path / f"file{WRITERS[name][0]}"
    path.write_text("old")
    if name == "History.to_csv":
        longer = [dict(epoch=n, psnr=30.0) for n in range(99)]
        WRITERS[name] = (".csv", lambda path: History(longer).to_csv(path))
    process, pipe = in_a_child(write_with_little_room, name, path)
    assert pipe.recv() == (
        "OSError",
        f"{str(path)!r} was not written: the disk is full; the old file is untouched. "
        "Free some space, or name a file on another disk",
        errno.ENOSPC,
    )
    process.join()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_really_full_disk_says_the_same(tmp_path):
    def write(_):
        with open("/dev/full", "wb") as full:
            full.write(b"one byte")

    with pytest.raises(OSError, match="the disk is full. Free some space"):
        replace_file(tmp_path / "file", write)
    assert not list(tmp_path.iterdir())


def test_another_error_of_the_writer_stays_as_it_is(tmp_path):
    def write(file):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="^a mistake$"):
        replace_file(tmp_path / "file", write)
    with pytest.raises(OSError, match="'gone'"):
        replace_file(tmp_path / "file", lambda file: Path("gone").read_bytes())


def test_the_store_of_measurements_takes_over_whole_files(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    address = Address("finding", "clip", "label", dict(seed=1))
    Store(old).remember(address, lambda: {"layer": {"value": 1.0}})
    (old / "partitions-clip.npz").write_bytes(b"numbers")
    Store(new).take_over(old)
    assert Store(new).holds(address)
    assert (new / "partitions-clip.npz").read_bytes() == b"numbers"
