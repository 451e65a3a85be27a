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

# pandas, which kserve imports, loads pyarrow wherever it is installed: 33 MB and a tenth of a second.
_modules.setdefault("pyarrow", None)

# gRPC's own core writes to standard error, which may be a pipe that nobody reads; what matters comes from us.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
