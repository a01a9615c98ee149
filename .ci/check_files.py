"""``check_files.py FILE …``: text files end with one line break, and no file is over 2 MB."""

import sys
from pathlib import Path

MOST_BYTES = 2_000_000
TEXT = {".cfg", ".cff", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ""}


def fault(path: Path) -> str:
    """What is wrong with a file, in words; empty if nothing is."""
    content = path.read_bytes()
    if len(content) > MOST_BYTES:
        return f"{len(content):,} bytes, more than {MOST_BYTES:,}"
    if path.suffix not in TEXT or not content:
        return ""
    if not content.endswith(b"\n"):
        return "no line break at its end"
    if content.endswith(b"\n\n"):
        return "empty lines at its end"
    return ""


def main(names: list[str]) -> int:
    """Print the faults of the files named; 1 if there is one."""
    faults = {name: fault(Path(name)) for name in names}
    for name, what in faults.items():
        if what:
            print(f"{name}: {what}")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
