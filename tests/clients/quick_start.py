#!/usr/bin/env python3
"""Runs the README's quick start word for word, so that it cannot rot.

usage: quick_start.py BINARY

In a copy of what a reader has, `./madbase` being the given binary on a data directory and ports of its own: runs
every `sh` block of the section one after the other in one shell; the `js` block must be the example's file, and the
`text` block the end of the output. Ends with 1 and a reason otherwise.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True
from server import ROOT, Server  # noqa: E402

EXAMPLE = Path("examples/task-board/board.mjs")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the section "Quick start" in one language."""
    text = (ROOT / "README.md").read_text()
    section = re.search(r"^## Quick start\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not section:
        sys.exit("README.md has no section `## Quick start`")
    found = re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.M | re.S)
    if not found:
        sys.exit(f"the quick start has no {language} block")
    return found


def copy_checkout(to: Path, binary: Path) -> None:
    to.mkdir()
    ignored = shutil.ignore_patterns("node_modules", ".venv", ".env")
    for folder in ("examples", "tests/clients"):
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    script = to / "madbase"
    script.write_text(f'#!/bin/sh\nexec "{binary}" "$@"\n')
    script.chmod(0o755)


def main() -> int:
    server = Server(Path(sys.argv[1]).resolve())
    if blocks("js") != [(ROOT / EXAMPLE).read_text()]:
        sys.exit(f"the quick start's js block and {EXAMPLE} differ")
    try:
        checkout = server.folder / "checkout"
        copy_checkout(checkout, server.binary)
        print("running the README's quick start", flush=True)
        done = subprocess.run(
            ["sh", "-eu", "-c", "\n".join(blocks("sh"))], cwd=checkout, env=server.environment, timeout=300,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(f"{done.stdout}\nthe quick start ended with {done.returncode}")
            print(server.log_tail())
            return 1
        promised = blocks("text")[-1]
        if promised not in done.stdout:
            print(f"{done.stdout}\nthe quick start does not print what the README promises:\n{promised}")
            return 1
        print("the quick start prints what the README promises")
        return 0
    finally:
        server.__exit__(None)


if __name__ == "__main__":
    sys.exit(main())
