"""Starts a cluster of MadBase for a test: PostgreSQL, a system node, workers and a proxy, each a process of its own.

Used by load/proxy, load/connections, load/realtime and clients/run; needs only the standard library, PostgreSQL's programs and a built binary.
Everything listens on loopback, on free ports, and is stopped and deleted afterwards.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from server import find_program, free_ports

TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
GIVE_UP_SECS = 60


class Node:
    """A process with a door, and what /proc says about it."""

    def __init__(self, name: str, command: list, port: int, environment: dict, folder: Path, user: str | None = None):
        self.name, self.port, self.log = name, port, folder / f"{name}.log"
        other = {"user": user, "group": user, "extra_groups": []} if user and os.geteuid() == 0 else {}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(it) for it in command], env=environment, cwd="/", stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, **other)

    def wait(self, path: str) -> None:
        """Until `path` is answered with something below 500."""
        began = time.monotonic()
        while time.monotonic() - began < GIVE_UP_SECS and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if call(self.port, path)[0] < 500:
                    return
            time.sleep(0.05)
        sys.exit(f"{self.name} is not ready: {self.log.read_text(errors='replace')[-3000:]}")

    def pids(self) -> list[int]:
        """The process and its children, which nginx has."""
        pid = self.process.pid
        return [pid, *(int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def cpu_secs(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SEC

    def status(self, name: str) -> int:
        """A number of /proc/<pid>/status, summed up: kB of VmRSS or VmHWM, or Threads."""
        return sum(int(re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{it}/status").read_text(), re.M)[1]) for it in self.pids())

    def sockets(self) -> int:
        links = (os.readlink(it) for it in Path(f"/proc/{self.process.pid}/fd").iterdir() if it.is_symlink())
        return sum(it.startswith("socket:") for it in links)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Cluster:
    """PostgreSQL and a system node; workers, proxies and others are added. Use it as a context manager."""

    def __init__(self, binary: Path):
        self.binary, self.nodes = binary, contextlib.ExitStack()
        # What every node started from now on is told beside its role.
        self.variables: dict[str, str] = {}
        # As root PostgreSQL runs as another user, who must be able to pass the directories above its own.
        self.folder = Path(tempfile.mkdtemp(prefix="madbase-cluster-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.nodes.callback(shutil.rmtree, self.folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def __enter__(self) -> "Cluster":
        try:
            self.postgres_port = self.start_postgres()
            self.database_url = f"postgresql://postgres@127.0.0.1:{self.postgres_port}/postgres"
            self.system = self.start_role("system", "MADBASE_CONTROL_PORT", {"MADBASE_NODE_PORT": str(free_ports(1)[0])})
            self.keys = self.command("project", "keys", "default")
        except BaseException:
            self.nodes.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.nodes.close()

    def start_postgres(self) -> int:
        user = "postgres" if os.geteuid() == 0 else None
        data, port = self.folder / "postgres", free_ports(1)[0]
        data.mkdir()
        if user:
            shutil.chown(data, user, user)
        other = {"user": user, "group": user, "extra_groups": []} if user else {}
        initdb = find_program("initdb", "postgresql")
        subprocess.run([initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **other)
        command = [find_program("postgres", "postgresql"), "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
                   "-c", f"unix_socket_directories={data}", "-c", "max_connections=200", "-c", "wal_level=logical"]
        node = Node("postgres", command, port, dict(os.environ), self.folder, user)
        self.nodes.callback(node.stop)
        ready = find_program("pg_isready", "postgresql-client")
        for _ in range(600):
            if subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0:
                self.postgres = node
                return port
            time.sleep(0.05)
        sys.exit(f"PostgreSQL does not start: {node.log.read_text()[-2000:]}")

    def environment(self, data: Path) -> dict[str, str]:
        kept = {it: value for it, value in os.environ.items() if not it.startswith(("MADBASE_", "PG"))}
        return kept | {
            "DATABASE_URL": self.database_url, "MADBASE_DATA_DIR": str(data), "MADBASE_LOG": "warn",
            "MADBASE_TRUSTED_PROXIES": "127.0.0.0/8",
        } | self.variables

    def start_role(self, role: str, port_variable: str, more: dict[str, str], name: str | None = None, port: int = 0) -> Node:
        """`madbase <role>` on this port or a free one, ready."""
        name = name or role
        data, port = self.folder / name, port or free_ports(1)[0]
        environment = self.environment(data) | {port_variable: str(port)} | more
        if role != "system":
            environment["MADBASE_MASTER_KEY_FILE"] = str(self.folder / "system" / "secrets" / "master_key")
        node = Node(name, [self.binary, role], port, environment, self.folder)
        self.nodes.callback(node.stop)
        node.wait("/ready")
        return node

    def start_worker(self, name: str = "worker", port: int = 0) -> Node:
        return self.start_role("worker", "MADBASE_WORKER_PORT", {}, name, port)

    def start_redis(self) -> Node:
        """A Redis that keeps nothing on disk, for every node started afterwards."""
        port = free_ports(1)[0]
        command = [find_program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", self.folder]
        node = Node("redis", command, port, dict(os.environ), self.folder)
        self.nodes.callback(node.stop)
        deadline = time.monotonic() + GIVE_UP_SECS
        while subprocess.run([find_program("redis-cli", "redis-tools"), "-p", str(port), "ping"], capture_output=True).stdout != b"PONG\n":
            if time.monotonic() > deadline:
                sys.exit(f"Redis does not start: {node.log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.variables["REDIS_URL"] = f"redis://127.0.0.1:{port}"
        return node

    def start_proxy(self, upstream_ports: list[int], name: str = "proxy") -> Node:
        """A proxy before upstreams that never change. It counts requests, by limits that nobody reaches."""
        urls = ",".join(f"http://127.0.0.1:{it}" for it in upstream_ports)
        limits = "ip=2000000000,data.user=2000000000"
        more = {"WORKER_UPSTREAM_URLS": urls, "MADBASE_RATE_LIMITS": limits}
        return self.start_role("proxy", "MADBASE_PORT", more, name)

    def start_nginx(self, name: str, server: str, processes: str = "auto", module: Path | None = None) -> Node:
        """nginx with `server` in its only server block; as many processes as there are cores, or as are named."""
        port = free_ports(1)[0]
        text = f"""
            {f"load_module {module};" if module else ""}
            worker_processes {processes}; daemon off; pid {self.folder}/{name}.pid; error_log stderr warn;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 4096; }}
            http {{
              access_log off; default_type application/json; keepalive_requests 100000000;
              {"".join(f"{it}_temp_path {self.folder}/{name}-{it};" for it in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))}
              {server.replace("PORT", str(port))}
            }}"""
        settings = self.folder / f"{name}.conf"
        settings.write_text(text)
        program = find_nginx()
        node = Node(name, [program, "-e", "stderr", "-p", self.folder, "-c", settings], port, dict(os.environ), self.folder)
        self.nodes.callback(node.stop)
        node.wait("/ready")
        return node

    def command(self, *arguments: str) -> dict:
        """A command of the system node."""
        environment = self.environment(self.folder / "system") | {"MADBASE_CONTROL_PORT": str(self.system.port)}
        done = subprocess.run([self.binary, *arguments, "--json"], env=environment, cwd="/", timeout=120,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"madbase {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def sql(self, text: str, database: str = "postgres") -> str:
        done = subprocess.run(
            [find_program("psql", "postgresql-client"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d",
             f"postgresql://postgres@127.0.0.1:{self.postgres_port}/{database}"],
            input=text, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def patch_settings(self, settings: dict) -> None:
        """Changes settings of the default project."""
        token = (self.folder / "system" / "secrets" / "admin_token").read_text().strip()
        connection = http.client.HTTPConnection("127.0.0.1", self.system.port, timeout=10)
        connection.request("PATCH", "/api/v1/projects/default/settings", json.dumps(settings),
                           {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"the settings were refused: {answer.status} {answer.read()!r}")
        connection.close()

    def token(self, user: str = "00000000-0000-4000-8000-0000000000aa") -> str:
        """A user's token of the default project (HS256), good for a day."""
        claims = {"role": "authenticated", "sub": user, "exp": int(time.time()) + 86_400}
        return sign(self.keys["jwt_secret"], claims)


def sign(secret: str, claims: dict) -> str:
    def encode(it: bytes) -> bytes:
        return base64.urlsafe_b64encode(it).rstrip(b"=")
    parts = [encode(json.dumps(it, separators=(",", ":")).encode()) for it in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, encode(signature)]).decode()


def call(port: int, path: str, headers: dict | None = None) -> tuple[int, bytes]:
    status, body, _ = ask(port, path, headers)
    return status, body


def ask(port: int, path: str, headers: dict | None = None) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def find_nginx() -> str:
    return find_or_install("nginx", "nginx-light", ("/usr/sbin/nginx",))


def find_wrk() -> str:
    return find_or_install("wrk", "wrk", ())


def find_nchan() -> Path:
    """nginx's module for WebSocket fan-out."""
    find_nginx()
    place = "/usr/lib/nginx/modules/ngx_nchan_module.so"
    return Path(find_or_install("nchan", "libnginx-mod-nchan", (place,)))


def find_or_install(name: str, package: str, places: tuple[str, ...]) -> str:
    """A program or a file; installed by apt-get where that is possible without asking."""
    for attempt in range(2):
        found = shutil.which(name) or next((it for it in places if Path(it).exists()), None)
        if found:
            return found
        if attempt == 0 and os.geteuid() == 0 and shutil.which("apt-get"):
            print(f"installing {package}", flush=True)
            quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
            # A policy that forbids starting: the package would start a server of its own.
            policy = Path("/usr/sbin/policy-rc.d")
            mine = not policy.exists()
            if mine:
                policy.write_text("#!/bin/sh\nexit 101\n")
                policy.chmod(0o755)
            try:
                subprocess.run(["apt-get", "install", "-y", "-qq", package], check=True, **quiet)
            finally:
                if mine:
                    policy.unlink()
    sys.exit(f"{name} is missing: install it, on Debian by `apt-get install {package}`")


def run_wrk(port: int, path: str, headers: dict, clients: int, seconds: float, threads: int = 1, timeout_secs: int = 10) -> dict:
    """wrk's figures for GETs of `path`."""
    lines = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    text = subprocess.run(
        [find_wrk(), f"-t{threads}", f"-c{clients}", f"-d{seconds}s", "--timeout", f"{timeout_secs}s", "--latency", *lines,
         f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    requests, took = re.search(r"(\d+) requests in ([\d.]+)(?:s|m)", text).groups()
    def millis(percent: int) -> float:
        value, unit = re.search(rf"\n\s+{percent}%\s+([\d.]+)(us|ms|s|m)", text).groups()
        return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]
    wrong = sum(int(it) for it in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for line in re.findall(r"Socket errors: (.*)", text):
        wrong += sum(int(it) for it in re.findall(r"\d+", line))
    return {"requests": int(requests), "per_sec": int(requests) / float(took),
            "p50_ms": millis(50), "p99_ms": millis(99), "wrong": wrong}
