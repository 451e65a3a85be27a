"""A small issuer of tokens (OpenID Connect): `python -m tests.support.issuer PORT CLIENTS`, in a process of its own.

It has a discovery document, its public key as a JWKS, and a token endpoint that gives clients tokens by their secret
(RFC 6749, section 4.4). CLIENTS is JSON: by client its audience, its roles, and how many seconds its tokens live.
"""

import base64
import json
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support import http
from tests.support.listening import Handler, listening
from tests.support.patience import ANSWER, until
from tests.support.servers import ROOT, free_ports

KEY_ID = "first"
SECRET = "of a test"
Clients = dict[str, dict[str, Any]]


class Issuer:
    """An issuer that runs somewhere."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def jwks(self) -> str:
        """Where it says its keys."""
        return str(http.get(f"{self.url}/.well-known/openid-configuration").json()["jwks_uri"])

    def token(self, client: str) -> str:
        """Return a token that it gives a client."""
        form = {"grant_type": "client_credentials"}
        answer = http.post(f"{self.url}/token", data=form, auth=(client, SECRET))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@contextmanager
def issuing(clients: Clients) -> Iterator[Issuer]:
    """Run an issuer for these clients while the context lasts."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.support.issuer", str(port), json.dumps(clients)]
    issuer = Issuer(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert process.poll() is None
        try:
            return bool(issuer.jwks)
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            until(answers)
            yield issuer
        finally:
            process.terminate()
            process.wait(ANSWER)


def serve(port: int, clients: Clients) -> None:
    """Issue tokens until told to stop."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    url = f"http://127.0.0.1:{port}"

    class Front(Handler):
        def respond(self) -> None:
            if self.path == "/.well-known/openid-configuration":
                self.say({"issuer": url, "jwks_uri": f"{url}/jwks", "token_endpoint": f"{url}/token"})
            elif self.path == "/jwks":
                public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
                self.say({"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]})
            elif self.path == "/token" and (client := self.client()):
                self.say(
                    {"access_token": jwt.encode(claims(client), key, "RS256", {"kid": KEY_ID}), "token_type": "Bearer"}
                )
            else:
                self.answer(401 if self.path == "/token" else 404)

        def client(self) -> str:
            form = urllib.parse.parse_qs(self.body().decode())
            scheme, _, given = self.headers.get("authorization", "").partition(" ")
            name, _, secret = base64.b64decode(given).decode().partition(":")
            known = scheme == "Basic" and secret == SECRET and name in clients
            return name if known and form["grant_type"] == ["client_credentials"] else ""

        def say(self, document: dict[str, Any]) -> None:
            self.answer(body=json.dumps(document).encode())

    def claims(client: str) -> dict[str, Any]:
        now, known = int(time.time()), clients[client]
        times = {"iat": now, "exp": now + known["seconds"]}
        return {"iss": url, "sub": client, "aud": known["audience"], "roles": known["roles"], **times}

    with listening(Front, port):
        while True:
            time.sleep(ANSWER)


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
