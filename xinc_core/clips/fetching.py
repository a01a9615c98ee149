"""The files of registered videos: found in a folder of one's own or the cache, else fetched.

A file is used if its SHA-256 is the registered one, and never otherwise. A download goes to a
temporary name in the cache and is renamed when it is whole and right: of one that breaks off, is
stopped or brings something else, nothing stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from xinc_core.util.files import hash_file
from xinc_core.util.paths import cache_folder
from xinc_core.util.progress import progress_bar

from .catalogue import RegisteredVideo

CHUNK = 1 << 16  # bytes of a download between two steps of its bar
TIMEOUT = 30  # seconds without a byte after which a server is given up


def place_of(video: RegisteredVideo) -> Path | None:
    """Where a video's file lies: in the folder that ``XINC_CLIPS`` names, or in the cache, or None.

    Its content is not looked at.
    """
    for folder in (own_folder(), fetched_folder()):
        if folder is not None and (folder / video.file).is_file():
            return folder / video.file
    return None


def own_folder() -> Path | None:
    """The folder that ``XINC_CLIPS`` names, or None.

    Raises
    ------
    NotADirectoryError
        If it names none.
    """
    named = os.environ.get("XINC_CLIPS")
    if not named:
        return None
    if not Path(named).is_dir():
        raise NotADirectoryError(
            f"XINC_CLIPS names {named!r}, which is no folder; "
            "name the folder that holds the videos, or unset it"
        )
    return Path(named)


def fetched_folder() -> Path:
    """The folder in the cache that holds what was fetched."""
    return cache_folder() / "clips"


def video_file(video: RegisteredVideo, progress: bool = True) -> Path:
    """The file of a registered video, fetched if it is neither in ``XINC_CLIPS`` nor in the cache.

    Parameters
    ----------
    video : RegisteredVideo
    progress : bool
        Show a bar while it is fetched.

    Raises
    ------
    OSError, ValueError
        In one sentence: a file that is another one than the registered, no network, a server that
        does not have it, a download that breaks off, a cache that cannot be written.
    """
    own = own_folder()
    if own is not None and (own / video.file).is_file():
        return _checked(own / video.file, video)
    fetched = fetched_folder() / video.file
    if fetched.is_file() and hash_file(fetched) == video.sha256:
        return fetched
    return _fetch(video, progress)


def _checked(path: Path, video: RegisteredVideo) -> Path:
    """The path, if the registered video is there."""
    found = hash_file(path)
    if found != video.sha256:
        raise ValueError(
            f"{str(path)!r} is not the video that the clip {video.name!r} is cut from: "
            f"its SHA-256 is {found[:12]}…, not {video.sha256[:12]}…; "
            "remove the file, or name another folder by XINC_CLIPS"
        )
    return path


def address(video: RegisteredVideo) -> str:
    """Where a video is fetched from: its own address, or a mirror's that ``XINC_CLIPS_URL`` names.

    Raises
    ------
    FileNotFoundError
        For one that is in a package only.
    """
    mirror = os.environ.get("XINC_CLIPS_URL")
    if mirror:
        return f"{mirror.rstrip('/')}/{video.file}"
    if video.url is None:
        raise FileNotFoundError(
            f"{video.file!r} is not fetched by itself: it is in the package {video.package}; "
            "the clip cut from it is shipped"
        )
    return video.url


def _fetch(video: RegisteredVideo, progress: bool) -> Path:
    """Download a video into the cache."""
    url, folder = address(video), fetched_folder()
    import pooch  # with requests, which nothing else needs
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel("WARNING")  # the bar says what is fetched
    bar = progress_bar(
        total=video.bytes, desc=video.file, unit="B", unit_scale=True, disable=not progress
    )
    download = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)
    what = f"the clip {video.name!r} could not be fetched"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known_hash = f"sha256:{video.sha256}"
        return Path(pooch.retrieve(url, known_hash, video.file, folder, downloader=download))
    except RequestException as error:
        raise ConnectionError(
            f"{what}: {_reason(error, urlsplit(url).netloc)}; "
            f"put {video.file!r} into a folder and name that by XINC_CLIPS, or try again"
        ) from None
    except ValueError:
        raise ValueError(
            f"{what}: what {url} sent has another SHA-256 than {video.file!r}, and was thrown away"
        ) from None
    except OSError as error:
        raise OSError(
            f"{what}: the cache {str(folder)!r} cannot be written "
            f"({error.strerror or type(error).__name__}); name another folder by XINC_CACHE"
        ) from None
    finally:
        bar.close()


def _reason(error: Exception, server: str) -> str:
    """What went wrong with a server, in a few words."""
    from requests.exceptions import ChunkedEncodingError, HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"{server} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, ChunkedEncodingError):
        return f"the download from {server} broke off"
    if isinstance(error, Timeout):
        return f"{server} did not answer"
    return f"there is no connection to {server}"
