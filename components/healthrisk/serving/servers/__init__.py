"""KServe's classes around serving: the one room that imports kserve. Imports serving, inference and bundle.

This file runs before any module of the room, and so before kserve is imported: what kserve would load by itself, and no
server uses, is kept out of the process here and nowhere else.
"""

import os
import sys
from types import ModuleType
from typing import cast

_modules = cast("dict[str, ModuleType | None]", sys.modules)

# kserve's client of the Kubernetes API, of which kserve's own package re-exports one name: 42 MB and half a second.
_client = ModuleType("kserve.api.kserve_client")
vars(_client)["KServeClient"] = None
_modules.setdefault(_client.__name__, _client)

# pandas, whose data frame kserve names in the types of what no server here calls: 36 MB and two fifths of a second.
_pandas = ModuleType("pandas")
vars(_pandas)["DataFrame"] = type("DataFrame", (), {})
if _modules.setdefault(_pandas.__name__, _pandas) is _pandas:
    import kserve  # noqa: F401 - so that nothing but kserve sees this module

    del _modules[_pandas.__name__]

# gRPC's own core writes to standard error, which may be a pipe that nobody reads; what matters comes from us.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
