"""Two workers behind a proxy, with one Redis: what the suites of realtime run against, and let lose workers.

Used by clients/run. Tests ask a little HTTP server for it: `POST /workers/0/TERM`, `POST /workers/1/KILL`, and
`POST /workers/0/start` for a worker that is gone; it answers when it is done.
"""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster import Cluster, Node
from server import find_program

SUFFIX = {"TERM": 15, "KILL": 9}


class Workers:
    """The cluster. Use it as a context manager."""

    def __init__(self, binary: Path):
        self.cluster = Cluster(binary)

    def __enter__(self) -> "Workers":
        cluster = self.cluster.__enter__()
        try:
            cluster.start_redis()
            # Many tests at once are more than one application.
            cluster.patch_settings({
                "realtime": {"max_bytes_per_second": 10_000_000, "max_events_per_second": 10_000},
                "auth": {"strict_sessions": True},
            })
            self.workers = [cluster.start_worker(f"worker-{it}") for it in (0, 1)]
            self.proxy = cluster.start_proxy([it.port for it in self.workers])
            self.door = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
            threading.Thread(target=self.door.serve_forever, daemon=True).start()
        except BaseException:
            cluster.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.door.shutdown()
        self.cluster.__exit__()

    def world(self, keys) -> dict:
        """What the suites must know."""
        default = self.cluster.keys
        return {
            "url": f"http://127.0.0.1:{self.proxy.port}",
            "workers": [f"http://127.0.0.1:{it.port}" for it in self.workers],
            "door": f"http://127.0.0.1:{self.door.server_port}",
            **keys(default),
            "jwtSecret": default["jwt_secret"],
            "databaseUrl": default["database_url"],
            "psql": find_program("psql", "postgresql-client"),
            "redisUrl": self.cluster.variables["REDIS_URL"],
        }

    def end(self, number: int, signal: str) -> None:
        """A signal to a worker; until it is gone."""
        process = self.workers[number].process
        process.send_signal(SUFFIX[signal])
        process.wait(60)

    def start(self, number: int) -> None:
        """The worker again, where it was; until it is ready and the proxy has seen it."""
        before: Node = self.workers[number]
        if before.process.poll() is None:
            return
        self.workers[number] = self.cluster.start_worker(before.name, before.port)
        time.sleep(1)

    def handler(workers) -> type:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                _, _, number, what = self.path.split("/")
                if what == "start":
                    workers.start(int(number))
                else:
                    workers.end(int(number), what)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        return Handler

    def log_tail(self, lines: int = 20) -> str:
        """The end of each node's log."""
        nodes = [self.proxy, *self.workers, self.cluster.system]
        return "\n".join(f"--- {it.name}\n" + "\n".join(it.log.read_text(errors="replace").splitlines()[-lines:]) for it in nodes)
