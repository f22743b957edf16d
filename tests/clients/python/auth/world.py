"""What the tests of auth stand on: a project that mails by SMTP, sends SMS and trusts an OpenID Connect provider, all of
them started here; people who sign in; and clients whose requests are noted."""

import atexit
import json
import os
import random
import re
import subprocess
import unittest
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
from supabase import ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from post import Mail, Sms
from record import Named, asking, note

WORLD = json.loads(Path(os.environ["MADBASE_WORLD"]).read_text())
PASSWORD = "correct horse battery staple"
BASE = f"{WORLD['url']}/auth/v1"
SITE = "http://localhost:3000"
WELCOME = f"{SITE}/welcome"
APP = "http://localhost:3999/cb"
IDP = Path(__file__).parent.parent.parent / "js" / "auth" / "idp.mjs"
LIMITS = ("token_refresh", "sign_in", "verify", "otp", "sso", "anonymous_users", "mfa")


def settings(auth: dict | None) -> None:
    """Changes settings of the project, as its operator does; secrets come in by standard input."""
    command = [WORLD["binary"], "project", "settings", "set", "default", "--file", "-"]
    subprocess.run(command, input=json.dumps({"auth": auth}), check=True, text=True, stdout=subprocess.DEVNULL)


class Provider:
    """The identity provider of the JavaScript tests, in a process of its own."""

    def __init__(self):
        self._process = subprocess.Popen([WORLD["node"], IDP, f"{BASE}/callback"], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        facts = json.loads(self._process.stdout.readline())
        self.authorization, self.token, self.settings = facts["authorization"], facts["token"], facts["settings"]

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)


mail, sms, idp = Mail(), Sms(), Provider()
settings(None)
settings({
    "site_url": SITE, "redirect_urls": [f"{SITE}/**"], "mailer_autoconfirm": False, "anonymous_users": True,
    "manual_linking": True, "smtp": mail.start(), "mail_max_frequency_secs": 0, "mail_max_per_hour": 10_000,
    "phone_enabled": True, "sms_provider": sms.start(), "sms_max_frequency_secs": 0, "sms_max_per_hour": 10_000,
    "mfa_phone": "on", "oauth_server": {"enabled": True}, "external": {"keycloak": idp.settings},
    **{f"rate_limit_{it}": 100_000 for it in LIMITS},
})
for it in (mail, sms, idp):
    atexit.register(it.stop)

http = httpx.Client(event_hooks={"response": [note]}, timeout=30)
atexit.register(http.close)


def any_address(name: str) -> str:
    return f"{name}-{uuid.uuid4()}@example.com"


def any_phone() -> str:
    return f"4479{random.randint(10_000_000, 99_999_999)}"


def address_of(name: str) -> str:
    """The provider's address of someone."""
    return f"{name}.idp@example.com"


def client(key: str | None = None, flow_type: str = "implicit"):
    """The auth of a client that keeps its session in memory."""
    options = ClientOptions(auto_refresh_token=False, flow_type=flow_type, httpx_client=http)
    return Named(create_client(WORLD["url"], key or WORLD["anonKey"], options).auth)


admin = client(WORLD["secretKey"]).admin


@dataclass
class Person:
    """A confirmed user who is signed in."""

    auth: Named
    id: str
    email: str
    session: object


def person(name: str) -> Person:
    email = any_address(name)
    made = admin.create_user({"email": email, "password": PASSWORD, "email_confirm": True, "user_metadata": {"name": name}})
    auth = client()
    session = auth.sign_in_with_password({"email": email, "password": PASSWORD}).session
    return Person(auth, made.user.id, email, session)


class Case(unittest.TestCase):
    """A test that can say what must be refused."""

    def refused(self, status: int, code: str, work, *args) -> AuthApiError:
        with self.assertRaises(AuthApiError) as caught:
            work(*args)
        self.assertEqual((caught.exception.status, caught.exception.code), (status, code))
        return caught.exception


def alive(token: str) -> bool:
    """Whether auth still knows the session of a token."""
    headers = {"apikey": WORLD["anonKey"], "Authorization": f"Bearer {token}"}
    return httpx.get(f"{BASE}/user", headers=headers).status_code == 200


def words(url: str) -> SimpleNamespace:
    """An address that a browser came to: where, and the pairs of its query and of its fragment."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return SimpleNamespace(place=place, query=dict(parse_qsl(parts.query)), fragment=dict(parse_qsl(parts.fragment)))


def by_browser(work, *args, **options) -> httpx.Response:
    token = asking.set("browser")
    try:
        return work(*args, **options)
    finally:
        asking.reset(token)


def follow(link: str) -> SimpleNamespace:
    """Where a mailed link leads."""
    answer = by_browser(http.get, link)
    assert answer.status_code == 303, f"{link}: {answer.status_code} {answer.text}"
    return words(answer.headers["location"])


def arrive(auth, landed: SimpleNamespace):
    """Opens a session from the tokens of a fragment."""
    return auth.set_session(landed.fragment["access_token"], landed.fragment["refresh_token"])


def browse(start: str, name: str, stop_at: str = SITE) -> SimpleNamespace:
    """What a browser does until it comes to `stop_at`: follows redirects, and signs `name` in where a form asks for it."""
    with httpx.Client(timeout=30) as strange, httpx.Client(timeout=30, event_hooks={"response": [note]}) as ours:
        url, form = start, None
        for _ in range(20):
            if url.startswith(stop_at):
                return words(url)
            browser = ours if url.startswith(WORLD["url"]) else strange
            answer = by_browser(browser.request, "POST" if form else "GET", url, data=form)
            form = None
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                continue
            assert answer.status_code == 200, f"{url}: {answer.text[:500]}"
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)[1]
            form = {"prompt": prompt} | ({"login": name, "password": "x"} if prompt == "login" else {})
            url = urljoin(url, re.search(r'<form[^>]*action="([^"]+)"', answer.text)[1])
    raise AssertionError(f"too many redirects: {url}")
