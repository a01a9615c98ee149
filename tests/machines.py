"""The numerical part of the tests as other machines compute it: ``make test-machines``.

A processor without AVX2, one without AVX-512 and oneDNN's kernels of older machines add in another
order, and so do two threads. A test that states a law passes under each. A line per machine:

    python tests/machines.py                 # all machines, everything numerical
    python tests/machines.py default avx2    # these two
    python tests/machines.py default -- tests/laws -m 'not slow'
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACHINES = {
    "one-thread": {"OMP_NUM_THREADS": "1"},
    "two-threads": {"OMP_NUM_THREADS": "2"},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "sse41": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
}
NUMERICAL = ["tests/laws", "tests/behaviour/test_families.py", "tests/behaviour/test_training.py"]


def outcome(settings: dict[str, str], arguments: list[str]) -> tuple[bool, str]:
    """Whether the tests pass on a machine, and pytest's own account of them."""
    threads = settings.get("OMP_NUM_THREADS", "1")
    workers = 2 // int(threads)  # two cores
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), *arguments]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": threads} | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode == 0, done.stdout + done.stderr


def line(name: str, passed: bool, account: str, seconds: float) -> str:
    """One line about one machine; the failed tests below it."""
    counts = account.strip().splitlines()[-1].strip("= ")
    counts = re.sub(r" in [\d.]+s.*", "", counts)
    failed = re.findall(r"^(?:FAILED|ERROR) \S+", account, re.M)
    word = "passed" if passed else "FAILED"
    return "\n  ".join([f"{name:12} {word}  {counts}, {seconds:.0f} s", *failed])


def main(arguments: list[str]) -> int:
    """Run the machines named, or all; 1 if a test failed on one."""
    names, tests = arguments, NUMERICAL
    if "--" in arguments:
        split = arguments.index("--")
        names, tests = arguments[:split], arguments[split + 1 :]
    unknown = sorted(set(names) - set(MACHINES))
    if unknown:
        print(f"no machine {', '.join(unknown)}; there are {', '.join(MACHINES)}", file=sys.stderr)
        return 2

    all_passed = True
    for name in names or MACHINES:
        start = time.monotonic()
        passed, account = outcome(MACHINES[name], tests)
        print(line(name, passed, account, time.monotonic() - start), flush=True)
        all_passed = all_passed and passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
