"""What every test of this folder stands on: the cluster under test (workers.py), and clients of its nodes.

`tests/clients/run` starts the cluster and writes its addresses and keys to the file that MADBASE_WORLD names.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import unittest
import urllib.request
import uuid
from pathlib import Path

from realtime import RealtimeSubscribeStates
from supabase import AsyncClient, AsyncClientOptions, acreate_client

WORLD = json.loads(Path(os.environ["MADBASE_WORLD"]).read_text())
PROXY = "proxy"


def sql(text: str) -> str:
    """Runs SQL as the project's owner."""
    arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", WORLD["databaseUrl"], "-c", text]
    return subprocess.run([WORLD["psql"], *arguments], check=True, capture_output=True, text=True).stdout.strip()


def token_of(user: str, **claims) -> str:
    """An access token, good for an hour unless `claims` say otherwise."""
    def part(it: bytes) -> str:
        return base64.urlsafe_b64encode(it).rstrip(b"=").decode()

    claims = {"role": "authenticated", "sub": user, "exp": int(time.time()) + 3600} | claims
    text = f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{text}.{part(hmac.digest(WORLD['jwtSecret'].encode(), text.encode(), hashlib.sha256))}"


def room(name: str = "room") -> str:
    """The name of a topic that no other test uses."""
    return f"{name}-{uuid.uuid4()}"


def worker(number: int, what: str) -> None:
    """Ends a worker by a signal (TERM, KILL), or starts it again."""
    request = urllib.request.Request(f"{WORLD['door']}/workers/{number}/{what}", method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 204


class Case(unittest.IsolatedAsyncioTestCase):
    """A test with clients that are closed afterwards."""

    async def asyncSetUp(self) -> None:
        self.clients: list[AsyncClient] = []
        # unittest's default; it reports every callback that the busy machine makes slow.
        asyncio.get_running_loop().set_debug(False)

    async def asyncTearDown(self) -> None:
        for it in self.clients:
            await it.realtime.close()

    async def at(self, place, token: str | None = None) -> AsyncClient:
        """A client of worker 0 or 1, or of the proxy; as the user of `token`, if there is one."""
        url = WORLD["url"] if place == PROXY else WORLD["workers"][place]
        options = AsyncClientOptions(auto_refresh_token=False, persist_session=False)
        client = await acreate_client(url, WORLD["anonKey"], options)
        if token:
            await client.realtime.set_auth(token)
        self.clients.append(client)
        return client

    async def joined(self, channel):
        """Subscribes; fails when the server does not let it."""
        states = await self.subscribe(channel)
        self.assertEqual(states[0][0], RealtimeSubscribeStates.SUBSCRIBED, states)
        return channel

    async def subscribe(self, channel) -> list:
        """Subscribes; what became of it, and what becomes of it later."""
        states = []
        await channel.subscribe(lambda state, error: states.append((state, error)))
        await self.until("an answer to the join", lambda: states)
        return states

    async def watching(self, channel, event: str, table: str, filter: str | None = None) -> list:
        """Subscribes to changes; those that come, once the server says that they do."""
        changes, told = [], []
        channel.on_postgres_changes(event, lambda it: changes.append(it["data"]), table=table, schema="public", filter=filter)
        channel.on_system(told.append)
        await self.joined(channel)
        await self.until("changes are subscribed", lambda: any(it.extension == "postgres_changes" for it in told))
        return changes

    async def until(self, what: str, condition, secs: float = 20) -> None:
        """Waits until `condition` holds."""
        deadline = time.monotonic() + secs
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            self.assertLess(time.monotonic(), deadline, f"not in time: {what}")
            await asyncio.sleep(0.05)
