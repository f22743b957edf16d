"""What every test of this folder stands on: the server under test, people of the task board, the seed as a model.

`tests/clients/run` starts the server and writes its address and keys to the file that MADBASE_WORLD names.
The formulas below repeat those of `board/seed.sql`.
"""

import json
import os
import subprocess
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from supabase import Client, ClientOptions, create_client

WORLD = json.loads(Path(os.environ["MADBASE_WORLD"]).read_text())
PASSWORD = "correct horse battery staple"


def client(key: str | None = None) -> Client:
    """A client whose session nobody else shares."""
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    return create_client(WORLD["url"], key or WORLD["anonKey"], options)


@dataclass
class Person:
    """A signed-up user with a client of their own."""

    client: Client
    id: str
    email: str
    access_token: str
    refresh_token: str


def person(name: str, key: str | None = None) -> Person:
    email = f"{name}-{uuid.uuid4()}@example.com"
    their = client(key)
    answer = their.auth.sign_up({"email": email, "password": PASSWORD, "options": {"data": {"name": name}}})
    session = answer.session
    return Person(their, answer.user.id, email, session.access_token, session.refresh_token)


def sql(text: str) -> str:
    """Runs SQL as the project's owner."""
    arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", WORLD["databaseUrl"], "-c", text]
    return subprocess.run([WORLD["psql"], *arguments], check=True, capture_output=True, text=True).stdout.strip()


def organisation_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def join(someone: Person, number: int, role: str = "member") -> None:
    sql(
        "insert into members (organisation_id, user_id, role) "
        f"values ('{organisation_id(number)}', '{someone.id}', '{role}')"
    )


VERBS = ["Repair", "Paint", "Measure", "Replace", "Document", "Ship", "Review"]
THINGS = ["boiler", "gear train", "card reader", "printer", "invoice", "front page", "staircase", "bell", "piston",
          "ledger", "window"]
LABELS = ["bug", "feature", "question", "chore", "security", "idea"]
NOTES = ["done by Friday", "waiting for parts", "please check", "looks good"]


def seeded_task(number: int) -> dict:
    """Task `number` as the seed makes it."""
    due = date(2030, 1, 8) + timedelta(days=number % 365)
    return {
        "id": number,
        "board_id": (number - 1) // 600 + 1,
        "title": f"{VERBS[number % 7]} the {THINGS[number % 11]} ({number})",
        "status": ["todo", "doing", "done"][number % 3],
        "priority": number % 5 + 1,
        "position": (number - 1) % 600 + 1,
        "tags": ["urgent", "customer"] if number % 10 == 0 else ["customer"] if number % 3 == 0 else [],
        "details": {"source": ["mail", "phone", "web"][number % 3], "estimate": {"hours": number % 40 + 1}},
        "due_on": None if number % 6 == 0 else due.isoformat(),
    }


def seeded_tasks(board: int) -> list[dict]:
    return [seeded_task((board - 1) * 600 + it) for it in range(1, 601)]


def seeded_labels(number: int) -> list[str]:
    kinds = [k for k in (0, 1) if number % 2 == k or number % 4 < 2]
    return sorted(LABELS[(number // 2 + k * 2) % 6] for k in kinds)


def seeded_comment(number: int) -> str | None:
    return None if number % 2 else f"Note {number // 2}: {NOTES[number // 2 % 4]}"
