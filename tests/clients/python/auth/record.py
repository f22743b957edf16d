"""Notes every request to auth with who made it, and compares what was asked with ../../auth_rows.txt."""

import json
import re
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import parse_qsl

import httpx

ROWS = Path(__file__).parent.parent.parent / "auth_rows.txt"
INNER = ("admin", "mfa", "oauth")
asking: ContextVar[str] = ContextVar("asking", default="client")
asked: list[dict] = []


class Named:
    """An object of a client whose methods tell `note` their names, those of the objects in it included."""

    def __init__(self, target, path: str = ""):
        self._target, self._path = target, path

    def __getattr__(self, name: str):
        value = getattr(self._target, name)
        path = f"{self._path}{name}"
        if name in INNER:
            return Named(value, f"{path}.")
        if not callable(value):
            return value

        def call(*args, **options):
            token = asking.set(path)
            try:
                return value(*args, **options)
            finally:
                asking.reset(token)

        return call


def fields(body: bytes) -> dict:
    text = body.decode()
    return json.loads(text) if text.startswith("{") else dict(parse_qsl(text))


def note(response: httpx.Response) -> None:
    """Notes one request: a hook for clients of httpx."""
    request = response.request
    path = request.url.path
    location = response.headers.get("location", "")
    asked.append({
        "by": asking.get(),
        "method": request.method,
        "path": path.removeprefix("/auth/v1") if path.startswith("/auth/v1") else f"root:{path}",
        "said": dict(request.url.params) | fields(request.read()),
        "refused": response.status_code >= 400 or bool(re.search(r"[?&#]error=", location)),
        "status": response.status_code,
    })


def rows() -> list[dict]:
    """The rows of the list that this client has a method for."""
    found = []
    for line in ROWS.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        method, path, *more, _, by = line.split()
        conditions = [one for it in more if it != "!400" for one in it.split("&")]
        pattern = re.escape(path).replace(r"\{id\}", "[^/]+")
        status = 400 if "!400" in more else None
        if by != "-":
            found.append({"line": " ".join(line.split()), "method": method, "pattern": pattern, "by": by.split(","),
                          "conditions": conditions, "status": status})
    return found


def asks(row: dict, it: dict) -> bool:
    return row["method"] == it["method"] and re.fullmatch(row["pattern"], it["path"]) is not None


def holds(condition: str, said: dict) -> bool:
    name, _, value = condition.lstrip("!").partition("=")
    if condition.startswith("!"):
        return said.get(name) is None
    return said.get(name) is not None and value in ("", str(said[name]))


def missing() -> list[str]:
    """Rows that nobody has driven as they say."""
    found = []
    for row in rows():
        here = [it for it in asked if asks(row, it) and all(holds(one, it["said"]) for one in row["conditions"])]
        good = [it for it in here if (it["status"] == row["status"] if row["status"] else not it["refused"])]
        absent = [by for by in row["by"] if by not in [it["by"] for it in good]]
        if absent:
            found.append(f"{row['line']}: not by {', '.join(absent)}")
    return found


def unlisted() -> set[str]:
    """What was asked and is no row."""
    list_ = rows()
    return {f"{it['method']} {it['path']} by {it['by']}" for it in asked if not any(asks(row, it) for row in list_)}
