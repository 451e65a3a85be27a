"""httpx's requests over a connection of their own, with the patience of a busy machine."""

from functools import partial

import httpx

from tests.support.patience import ANSWER

get = partial(httpx.get, timeout=ANSWER)
post = partial(httpx.post, timeout=ANSWER)
client = partial(httpx.Client, timeout=ANSWER)
