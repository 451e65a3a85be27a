"""Who does what this process does, as far as its surroundings say.

In a pod that is its service account, out of the token that Kubernetes put there; elsewhere the user of this machine.
Whoever rules the machine can be any of its users, so such a name is a statement, and no proof; who acts on a cluster
from outside is therefore called as the cluster knows them, too.
"""

import base64
import getpass
import json
import os
import socket
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from healthrisk.config import settings

_known: ContextVar[str] = ContextVar("known", default="")
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def current() -> str:
    """Return who acts: `system:serviceaccount:NAMESPACE:NAME` in a pod, else `USER@HOST`; with the run it acts in.

    Outside of a pod the name that a cluster knows comes first: `NAME, from USER@HOST`.
    """
    run = settings().run
    return (_service_account() or _from_outside()) + (f", run {run}" if run else "")


def known_as(name: str) -> None:
    """Take the name by which a cluster knows who acts here; empty where it does not say."""
    _known.set(name)


def _from_outside() -> str:
    known = _known.get()
    return f"{known}, from {_user()}" if known else _user()


def _service_account() -> str:
    """Return the subject of the pod's own token, or nothing outside of one."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        payload = TOKEN.read_text().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims.get("sub", ""))
    return ""


def _user() -> str:
    host = socket.gethostname()
    # A pod without a token, whose user has no name either.
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return f"pod {host}"
    try:
        return f"{getpass.getuser()}@{host}"
    except (KeyError, OSError):
        return f"user {os.getuid()}@{host}"
