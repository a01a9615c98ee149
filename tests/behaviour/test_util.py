"""Files, places and what is remembered: small things that everything else relies on."""

import gc
import hashlib
import json
import weakref

import pytest

from xinc_core.util.files import digest, hash_bytes, hash_file, hash_folder, locked, replace_file
from xinc_core.util.memo import cached_per_object
from xinc_core.util.paths import (
    checkout,
    data_folder,
    environment,
    figures,
    notebooks_folder,
    results,
    shelves,
)


def test_hashes_are_sha_256_of_what_they_say(tmp_path):
    assert hash_bytes(b"ab", b"", b"c") == hashlib.sha256(b"abc").hexdigest()
    long = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "b.bin").write_bytes(long)
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    assert hash_file(tmp_path / "b.bin") == hashlib.sha256(long).hexdigest()
    whole = hashlib.sha256(b"a.txt" + b"text" + b"b.bin" + long).hexdigest()
    assert hash_folder(tmp_path) == whole


def test_a_digest_is_that_of_the_values_not_of_their_order():
    values = dict(seed=1, sizes=[3, 4], name="é")
    assert digest(values) == digest(dict(reversed(values.items())))
    assert digest(values) == hash_bytes(json.dumps(values, sort_keys=True).encode())
    assert digest(values) != digest(values | dict(seed=2))


def test_a_broken_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half(file):
        file.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, write_half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    replace_file(path, lambda file: file.write_text("new"))
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_alone_or_shared(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    with locked(path, shared=True), locked(path, shared=True, wait=False):
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    with locked(path, wait=False):
        pass


class Owner:
    pass


def test_results_are_remembered_as_long_as_their_owner_lives():
    calls = []

    @cached_per_object
    def doubled(owner, number):
        calls.append(number)
        return [2 * number]

    one, other = Owner(), Owner()
    assert doubled(one, 3) is doubled(one, 3) and doubled(one, 4) == [8]
    assert doubled(other, 3) is not doubled(one, 3)
    assert calls == [3, 4, 3]
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_places_follow_the_environment_when_they_are_asked_for(tmp_path):
    with environment(XINC_DATA=str(tmp_path / "data"), XINC_RUN=""):
        assert data_folder() == tmp_path / "data"
        assert shelves("models") == [tmp_path / "data" / "models"]
        assert results() == tmp_path / "data" / "results" and results().is_dir()
        with environment(XINC_RUN=str(tmp_path / "run")):
            assert shelves("clips") == [tmp_path / "run" / "clips", tmp_path / "data" / "clips"]
            assert results() == tmp_path / "run" / "results"
            assert figures() == tmp_path / "run" / "figures"
            with environment(XINC_FIGURES=str(tmp_path / "f"), XINC_RESULTS=str(tmp_path / "r")):
                assert (figures(), results()) == (tmp_path / "f", tmp_path / "r")


def test_a_checkout_has_its_data_and_its_notebooks():
    with environment(XINC_DATA=""):
        assert data_folder() == checkout() / "data"
    assert notebooks_folder() == checkout() / "notebooks"
