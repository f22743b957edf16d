"""Starts a MadBase of its own for a test: temporary data directory, free ports, stopped and deleted afterwards.

Used by clients/run, load/startup and load/data_api; needs only the standard library and a built binary.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def find_binary(profiles: tuple[str, ...] = ("release", "debug")) -> Path:
    """The binary of MADBASE_BIN, else the newest that cargo built for one of the profiles."""
    if named := os.environ.get("MADBASE_BIN"):
        return Path(named).resolve()
    built = [ROOT / "target" / it / "madbase" for it in profiles]
    built = [it for it in built if it.is_file()]
    if not built:
        sys.exit(f"no binary in target/{{{','.join(profiles)}}}: run `cargo build -p madbase` or set MADBASE_BIN")
    return max(built, key=lambda it: it.stat().st_mtime)


def find_program(name: str, package: str) -> str:
    """A program of PATH or of Debian's newest PostgreSQL."""
    if found := shutil.which(name):
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda it: int(it.parts[-3]))
    if versions:
        return str(versions[-1])
    sys.exit(f"{name} is missing: install it, on Debian by `apt-get install {package}`")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for it in sockets:
            it.bind(("127.0.0.1", 0))
        return [it.getsockname()[1] for it in sockets]
    finally:
        for it in sockets:
            it.close()


class Server:
    """A MadBase in a temporary directory. Use it as a context manager."""

    def __init__(self, binary: Path, environment: dict[str, str] | None = None):
        self.binary = binary
        # As root PostgreSQL runs as another user, who must be able to pass the directories above its own.
        self.folder = Path(tempfile.mkdtemp(prefix="madbase-test-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.port, self.control_port, postgres_port = free_ports(3)
        self.environment = {it: value for it, value in os.environ.items() if it != "DATABASE_URL"}
        self.environment |= {
            "MADBASE_DATA_DIR": str(self.data),
            "MADBASE_PORT": str(self.port),
            "MADBASE_CONTROL_PORT": str(self.control_port),
            "MADBASE_POSTGRES_PORT": str(postgres_port),
        }
        self.environment |= environment or {}
        self.facts: dict = {}

        # A test that is told to end still stops its server and deletes its files.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            print(self.log_tail(), file=sys.stderr)
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments: str, timeout: float = 120) -> dict:
        """Runs a command of the binary with --json; its answer."""
        done = subprocess.run(
            [self.binary, *arguments, "--json"], env=self.environment, cwd=self.folder, timeout=timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"madbase {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def start(self) -> dict:
        """Starts in the background and waits until everything is ready; what `start --json` says."""
        self.facts = self.command("start", "--detach")
        return self.facts

    def stop(self) -> None:
        """Stops whatever runs in the directory."""
        subprocess.run(
            [self.binary, "stop"], env=self.environment, cwd=self.folder, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def log_tail(self, lines: int = 20) -> str:
        """What the server's log has to say: its last warnings and errors, and its end."""
        try:
            text = (self.data / "madbase.log").read_text(errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error})"
        loud = [it for it in text if '"level":"ERROR"' in it or '"level":"WARN"' in it]
        return "\n".join(["--- the server's last warnings and errors", *loud[-lines:],
                          "--- the end of the server's log", *text[-lines:], "---"])


def apply_board(psql: str, database_url: str) -> None:
    """Creates the task board with its seed, as the database's owner would by hand."""
    board = ROOT / "tests" / "clients" / "board"
    subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database_url,
         "-f", board / "schema.sql", "-f", board / "seed.sql"],
        check=True, stdout=subprocess.DEVNULL,
    )
