"""The load generator of load/realtime: starts the crate `crowd`, tells it what to do, and reads its figures."""

import json
import os
import resource
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def raise_file_limit(wanted: int) -> int:
    """Open files that this process and its children may have: as many as wanted, or as many as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            if wanted > soft:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def find_crowd() -> Path:
    """The binary of CROWD_BIN, else built here; its crate is optimised in every profile."""
    if named := os.environ.get("CROWD_BIN"):
        return Path(named).resolve()
    subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "crowd"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "debug" / "crowd"


class Crowd:
    """A running crowd. Use it as a context manager; leaving closes its connections."""

    def __init__(self, binary: Path, plan: dict):
        self.plan = plan
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdin.write(json.dumps(plan) + "\n")

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tell(self, what: str, **more) -> None:
        self.process.stdin.write(json.dumps({"do": what, **more}) + "\n")

    def answer(self, secs: float) -> dict:
        if not select.select([self.process.stdout], [], [], secs)[0]:
            sys.exit(f"the load generator did not answer in {secs:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the load generator ended")
        return json.loads(line)

    def ask(self, what: str, patience: float = 120, **more) -> dict:
        """An order; its figures."""
        self.tell(what, **more)
        return self.answer(patience)

    def connect(self) -> dict:
        """Opens and joins everything; ends the run when a connection is refused."""
        for what, count in (("open", "open"), ("join", "joined")):
            figures = self.ask(what)
            wanted = self.plan["sockets"] + ("sender_path" in self.plan)
            if figures[count] != wanted:
                sys.exit(f"{figures[count]} of {wanted} connections could {what}: {figures['failures']}")
        return figures
