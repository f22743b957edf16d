"""The museum's database, and the two ways to it: `/rest/v1` of a project, and `madbase rest` beside it.

Used by clients/run.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from server import Server, find_program, free_ports

SCHEMA = Path(__file__).resolve().parent / "museum" / "schema.sql"
SUPERUSER = "supabase_admin"  # of the clusters that MadBase makes


def signed(claims: dict, secret: str) -> str:
    """An HS256 token."""
    def part(it: bytes) -> str:
        return base64.urlsafe_b64encode(it).rstrip(b"=").decode()

    text = f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


class Museum:
    """A server whose default project is the museum. Use it as a context manager."""

    def __init__(self, binary: Path):
        self.server = Server(binary)
        self.psql = find_program("psql", "postgresql-client")
        self.keys: dict = {}

    def __enter__(self) -> "Museum":
        self.server.__enter__()
        try:
            self.keys = self.server.command("project", "keys", "default")
            self.add_postgis()
        except BaseException as error:
            self.server.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind, *rest) -> None:
        self.server.__exit__(kind, *rest)

    def log_tail(self) -> str:
        return self.server.log_tail()

    def run_sql(self, url: str, *arguments: str) -> None:
        subprocess.run([self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, *arguments], check=True,
                       stdout=subprocess.DEVNULL, env=self.server.environment | {"PGOPTIONS": "-c client_min_messages=warning"})

    def add_postgis(self) -> None:
        """What the machine's administrator does: only a superuser may add PostGIS. Without its package its tests are skipped."""
        password = (self.server.data / "secrets" / "postgres_password").read_text().strip()
        place = urlsplit(self.server.facts["database_url"])
        url = urlunsplit(place._replace(netloc=f"{SUPERUSER}:{password}@{place.hostname}:{place.port}"))
        self.run_sql(url, "-c", "do $$ begin if exists (select from pg_available_extensions where name = 'postgis') then "
                     "create extension if not exists postgis schema extensions; end if; end $$")

    def ways(self) -> Iterator[dict]:
        """The gateway, then the data API alone."""
        gateway = {"apikey": self.keys["anon"], "Authorization": f"Bearer {self.keys['anon']}"}
        yield self.way("rest/v1", f"{self.server.facts['api_url']}/rest/v1", gateway)
        port, = free_ports(1)
        settings = {
            "PGRST_DB_URI": self.keys["database_urls"]["authenticator"],
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
            "PGRST_JWT_SECRET": self.keys["jwt_secret"],
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(port),
        }
        log = (self.server.folder / "rest.log").open("wb")
        with log, subprocess.Popen([self.server.binary, "rest"], env=self.server.environment | settings,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log) as alone:
            try:
                yield self.way("madbase rest", f"http://127.0.0.1:{port}", {})
            finally:
                alone.terminate()

    def way(self, name: str, url: str, headers: dict[str, str]) -> dict:
        """What the suites must know."""
        secret, now = self.keys["jwt_secret"], int(time.time())
        return {
            "name": name,
            "url": url,
            "headers": headers,
            "serviceRoleKey": self.keys["service_role"],
            "userToken": signed({"role": "authenticated", "exp": now + 3600}, secret),
            "expiredToken": signed({"role": "authenticated", "exp": now - 3600}, secret),
            "databaseUrl": self.server.facts["database_url"],
            "dataDir": str(self.server.data),
            "psql": self.psql,
        }

    def environment(self, way: dict) -> dict[str, str]:
        """Makes the museum anew and waits until `way` shows it; the environment of a suite."""
        self.run_sql(way["databaseUrl"], "-f", str(SCHEMA))
        self.wait_until_shown(way)
        world = self.server.folder / "museum.json"
        world.touch(mode=0o600)
        world.write_text(json.dumps(way))
        return self.server.environment | {"MADBASE_WORLD": str(world)}

    def wait_until_shown(self, way: dict) -> None:
        """Until the newest schema and the role's settings hold."""
        request = urllib.request.Request(f"{way['url']}/papers?select=count()",
                                         headers=way["headers"] | {"Accept-Profile": "archive"})
        deadline, last = time.monotonic() + 20, ""
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.read() == b'[{"count":2}]':
                        time.sleep(0.5)  # a notification that came meanwhile is heard
                        return
            except urllib.error.HTTPError as error:
                last = error.read().decode(errors="replace")
            except OSError as error:
                last = str(error)
            time.sleep(0.1)
        raise RuntimeError(f"{way['name']} does not show the museum: {last}")
