"""Registered clips whose videos are fetched: from a server on this machine, into a cache.

What goes wrong on the way ends in one sentence, and leaves nothing behind.
"""

import json
import shutil
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from comparing import without_bars
from conftest import missing

import xinc_core as xc
from xinc_core.cli import main
from xinc_core.clips.catalogue import videos
from xinc_core.clips.fetching import address, fetched_folder, place_of
from xinc_core.util.files import hash_file
from xinc_core.util.paths import data_folder


class Server(ThreadingHTTPServer):
    """Serves one film; ``way`` says how, ``asked`` counts."""

    daemon_threads = True

    def __init__(self, film: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.film, self.way, self.asked = film, "whole", 0
        self.stopped = threading.Event()  # the test has ended: a handler that waits may go on

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        server = self.server
        server.asked += 1
        film = server.film
        if server.way == "missing" or self.path != "/film.mp4":
            self.send_error(404)
            return
        if server.way == "other":
            film = film[::-1]
        self.send_response(200)
        if server.way != "short":
            self.send_header("Content-Length", str(len(film)))
        self.end_headers()
        half = film[: len(film) // 2]
        if server.way in ("half", "short"):  # the latter does not say how much there would be
            film = half
        if server.way == "interrupted":
            self.wfile.write(half)
            self.wfile.flush()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            server.stopped.wait(20)
            return
        self.wfile.write(film)

    def log_message(self, *words):
        """Say nothing."""


def write_film(path: Path) -> None:
    """20 frames of 96×144 pixels that brighten."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 144, "yuv420p"
        for t in range(20):
            picture = np.full((96, 144, 3), 10 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    write_film(path)
    return path


@pytest.fixture
def server(film, tmp_path, monkeypatch):
    """A server with the film that a table lists as the clip "brighter"; an empty cache."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(data_folder() / "photographs.json", data)
    served = Server(film.read_bytes())
    facts = dict(
        shows="a grey that brightens",
        file="film.mp4",
        sha256=hash_file(film),
        bytes=len(served.film),
        licence="CC0 1.0",
        credit="nobody",
        shipped=False,
        start=2,
        step=3,
        frames=5,
        fps=10 / 3,
        size=[96, 144],
        url=f"{served.url}/film.mp4",
    )
    (data / "videos.json").write_text(json.dumps({"brighter": facts}))
    monkeypatch.setenv("XINC_DATA", str(data))
    monkeypatch.setenv("XINC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XINC_CLIPS", raising=False)
    monkeypatch.delenv("XINC_CLIPS_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield served
    served.stopped.set()
    served.shutdown()
    served.server_close()
    thread.join()


def in_cache() -> list[str]:
    """What lies in the cache."""
    return [path.name for path in fetched_folder().glob("*")]


def test_a_clip_is_fetched_once_and_cut_as_the_table_says(server):
    clip = xc.load_clip("brighter")
    again = xc.load_clip("brighter", start=1, stop=4)
    assert server.asked == 1 and in_cache() == ["film.mp4"]
    assert (clip.name, len(clip), clip.size) == ("brighter", 5, (96, 144))
    brightness = clip.frames.mean((1, 2, 3)) * 255
    assert brightness.numpy() == pytest.approx([20, 50, 80, 110, 140], abs=4)
    assert again.frames.equal(clip.frames[1:4])
    with pytest.raises(ValueError, match="has one size"):
        xc.load_clip("brighter", size=(48, 72))


def test_the_own_folder_goes_before_the_cache(server, film, monkeypatch):
    monkeypatch.setenv("XINC_CLIPS", str(film.parent))
    assert len(xc.load_clip("brighter")) == 5 and server.asked == 0


def test_a_mirror_is_asked_instead(server, monkeypatch):
    monkeypatch.setenv("XINC_CLIPS_URL", f"{server.url}/")
    video = videos()["brighter"]
    assert address(video) == f"{server.url}/film.mp4"
    assert len(xc.load_clip("brighter")) == 5 and server.asked == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    xc.load_clip("brighter")
    place_of(videos()["brighter"]).write_bytes(b"cut short")
    assert len(xc.load_clip("brighter")) == 5 and server.asked == 2


@pytest.mark.parametrize(
    "way, kind, sentence",
    (
        ("missing", ConnectionError, "answered 404 Not Found; put 'film.mp4' into a folder"),
        ("half", ConnectionError, "broke off; put 'film.mp4' into a folder"),
        ("short", ValueError, "another SHA-256 than 'film.mp4', and was thrown away"),
        ("other", ValueError, "another SHA-256 than 'film.mp4', and was thrown away"),
    ),
)
def test_what_goes_wrong_is_said_in_one_sentence_and_leaves_nothing(server, way, kind, sentence):
    server.way = way
    with pytest.raises(kind, match=sentence) as told:
        xc.load_clip("brighter")
    assert "\n" not in str(told.value) and "'brighter' could not be fetched" in str(told.value)
    assert in_cache() == []
    server.way = "whole"
    assert len(xc.load_clip("brighter")) == 5


def test_ctrl_c_leaves_nothing(server, capsys):
    server.way = "interrupted"
    assert main(["clips", "--fetch", "brighter"]) == 130
    assert without_bars(capsys.readouterr().err).count("\n") == 1 and in_cache() == []


def test_no_network(server, monkeypatch):
    monkeypatch.setenv("XINC_CLIPS_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ConnectionError, match="there is no connection to 127.0.0.1:9; put"):
        xc.load_clip("brighter")
    assert in_cache() == []


def test_a_cache_that_cannot_be_written(server, film, monkeypatch):
    monkeypatch.setenv("XINC_CACHE", str(film / "cache"))  # below a file no folder can be made
    with pytest.raises(OSError, match="cannot be written .*; name another folder by XINC_CACHE"):
        xc.load_clip("brighter")
    assert server.asked == 0


def test_another_file_in_the_own_folder_is_refused(server, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "film.mp4").write_bytes(b"another film")
    monkeypatch.setenv("XINC_CLIPS", str(own))
    with pytest.raises(ValueError, match="is not the video that the clip 'brighter' is cut from"):
        xc.load_clip("brighter")
    assert server.asked == 0 and (own / "film.mp4").read_bytes() == b"another film"
    monkeypatch.setenv("XINC_CLIPS", str(own / "gone"))
    with pytest.raises(NotADirectoryError, match="XINC_CLIPS names .* which is no folder"):
        xc.load_clip("brighter")


def test_the_command_lists_and_fetches(server, capsys):
    def xinc(*words):
        code = main(list(words))
        said = capsys.readouterr()
        return code, said.out, without_bars(said.err)

    code, before, _ = xinc("clips")
    assert code == 0 and server.asked == 0
    assert "to fetch, 0.0 MB  a grey that brightens (CC0 1.0)" in before
    assert "1 clips can be fetched" in before
    code, out, _ = xinc("clips", "--fetch", "all")
    assert code == 0 and "nobody; CC0 1.0" in out and in_cache() == ["film.mp4"]
    after = xinc("clips")[1]
    assert "can be fetched" not in after and "brighter      5 frames    here " in after
    assert xinc("clips", "--fetch", "bright")[2].count("did you mean 'brighter'?") == 1
    assert "comes with the project" in xinc("clips", "--fetch", "cat")[1]
    server.way = "missing"
    shutil.rmtree(fetched_folder())
    code, _, err = xinc("clips", "--fetch", "brighter")
    assert code == 2 and err.count("\n") == 1 and "404" in err


def test_a_plan_counts_frames_without_fetching(server):
    from xinc_core.clips import frames_of

    assert frames_of("brighter") == (5, 10 / 3) and server.asked == 0


@pytest.mark.parametrize("name", [name for name, video in videos().items() if not video.shipped])
def test_registered_videos_are_the_registered_files(name):
    """Where the files are at hand: right content, as many frames as are taken."""
    video = videos()[name]
    path = place_of(video)
    if path is None:
        missing(f"{video.file} is not at hand: {name} was not compared with its checksum")
    assert hash_file(path) == video.sha256 and path.stat().st_size == video.bytes
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames in (0, *range(video.keep.stop, 10**6))
