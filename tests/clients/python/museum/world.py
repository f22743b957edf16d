"""What the museum's tests stand on: postgrest against one way into the data API, and what its database holds.

`tests/clients/run` applies museum/schema.sql and writes the address to the file that MADBASE_WORLD names; once for
`/rest/v1` of a project, once for `madbase rest`.
"""

import json
import os
import subprocess
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from postgrest import AsyncPostgrestClient, SyncPostgrestClient
from postgrest.exceptions import APIError

WORLD = json.loads(Path(os.environ["MADBASE_WORLD"]).read_text())


def client(headers: dict[str, str] | None = None, **options) -> SyncPostgrestClient:
    """A client of its own."""
    return SyncPostgrestClient(WORLD["url"], headers=WORLD["headers"] | (headers or {}), **options)


def async_client(headers: dict[str, str] | None = None, **options) -> AsyncPostgrestClient:
    return AsyncPostgrestClient(WORLD["url"], headers=WORLD["headers"] | (headers or {}), **options)


@contextmanager
def recording() -> Iterator[tuple[SyncPostgrestClient, list[httpx.Response]]]:
    """A client, and the list of its answers."""
    calls: list[httpx.Response] = []
    with httpx.Client(base_url=WORLD["url"], event_hooks={"response": [calls.append]}, timeout=30) as session:
        yield client(http_client=session), calls


def sql(text: str) -> str:
    """Runs SQL as the database's owner."""
    arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", WORLD["databaseUrl"], "-c", text]
    return subprocess.run([WORLD["psql"], *arguments], check=True, capture_output=True, text=True).stdout.strip()


def rows(query: str) -> list[dict]:
    """The rows of a query, read past the server."""
    return json.loads(sql(f"select coalesce(json_agg(t), '[]') from ({query}) t"))


def ids(found: list[dict]) -> list[int]:
    return [it["id"] for it in found]


class Case(unittest.TestCase):
    """A test with a client that anybody may have."""

    @classmethod
    def setUpClass(cls):
        cls.db = client()
        cls.addClassCleanup(cls.db.aclose)

    def client(self, *args, **options) -> SyncPostgrestClient:
        """Another client, for this test."""
        made = client(*args, **options)
        self.addCleanup(made.aclose)
        return made

    def refused(self, request, code: str, message: str | None = None) -> APIError:
        """The error of a request; fails when it has another code or message."""
        with self.assertRaises(APIError) as caught:
            request.execute()
        self.assertEqual(caught.exception.code, code, caught.exception)
        if message is not None:
            self.assertEqual(caught.exception.message, message)
        return caught.exception
