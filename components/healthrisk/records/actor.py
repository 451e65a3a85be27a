"""Who does what this process does, as far as its surroundings say.

In a pod that is its service account, out of the token that Kubernetes put there; elsewhere the user of this machine.
Whoever rules the machine can be any of its users, so such a name is a statement, and no proof.
"""

import base64
import getpass
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from healthrisk.config import settings

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def current() -> str:
    """Return who acts: `system:serviceaccount:NAMESPACE:NAME` in a pod, else `USER@HOST`; with the run it acts in."""
    run = settings().run
    return (_service_account() or _user()) + (f", run {run}" if run else "")


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
