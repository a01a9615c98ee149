from pathlib import Path


def count_frames(path):
    import av

    from .clips import IMAGES

    path = Path(path)
    if path.is_dir():
        return len([f for f in path.iterdir() if f.suffix.lower() in IMAGES]), 25.0
    if path.suffix.lower() in IMAGES:
        return 1, 25.0
    with av.open(str(path)) as c:
        s = c.streams.video[0]
        return sum(1 for p in c.demux(s) if p.size), float(s.average_rate or 25)
