#!/usr/bin/env python3
"""Runs an example of the documentation word for word, so that it cannot rot.

usage: quick_start.py BINARY [readme|realtime]

In a copy of what a reader has, `./madbase` being the given binary on a data directory and ports of its own: runs
every `sh` block of the section one after the other in one shell; the blocks of other languages must be the example's
files, and the `text` block the end of the output. Ends with 1 and a reason otherwise.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True
from server import ROOT, Server  # noqa: E402

# Page, section, and the file that each block shows.
EXAMPLES = {
    "readme": ("README.md", "Quick start", {"js": "examples/task-board/board.mjs"}),
    "realtime": ("docs/guides/realtime.md", "Run it",
                 {"js": "examples/realtime/lobby.mjs", "sql": "examples/realtime/schema.sql"}),
}


def blocks(page: str, heading: str, language: str) -> list[str]:
    """The fenced blocks of a section in one language."""
    text = (ROOT / page).read_text()
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not section:
        sys.exit(f"{page} has no section `## {heading}`")
    found = re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.M | re.S)
    if not found:
        sys.exit(f"`## {heading}` of {page} has no {language} block")
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
    page, heading, files = EXAMPLES[sys.argv[2] if len(sys.argv) > 2 else "readme"]
    for language, file in files.items():
        if blocks(page, heading, language) != [(ROOT / file).read_text()]:
            sys.exit(f"the {language} block of {page} and {file} differ")
    server = Server(Path(sys.argv[1]).resolve())
    try:
        checkout = server.folder / "checkout"
        copy_checkout(checkout, server.binary)
        print(f"running `{heading}` of {page}", flush=True)
        done = subprocess.run(
            ["sh", "-eu", "-c", "\n".join(blocks(page, heading, "sh"))], cwd=checkout, env=server.environment,
            timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(f"{done.stdout}\nit ended with {done.returncode}")
            print(server.log_tail())
            return 1
        promised = blocks(page, heading, "text")[-1]
        if promised not in done.stdout:
            print(f"{done.stdout}\nit does not print what {page} promises:\n{promised}")
            return 1
        print(f"it prints what {page} promises")
        return 0
    finally:
        server.__exit__(None)


if __name__ == "__main__":
    sys.exit(main())
