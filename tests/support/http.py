"""httpx's requests over a connection of their own, with the patience of a busy machine."""

import ssl
from functools import partial

import httpx

from tests.support.patience import ANSWER

# It trusts nobody, and no address of a test asks for trust: httpx would read all certificates of the machine for every
# request, which takes twenty times as long as the request.
_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, timeout=ANSWER, verify=_NOBODY)
post = partial(httpx.post, timeout=ANSWER, verify=_NOBODY)
client = partial(httpx.Client, timeout=ANSWER, verify=_NOBODY)
