"""Print functions, methods, classes and constants of the library and the commands that nothing uses; exit 1 if any.

Fields and attributes are left out: documents are read as JSON and by templates, attributes by other libraries.
"""

import sys

from vulture import Vulture

PLACES = ["components/healthrisk", "kserve", "pipelines"]
# What others call by its name: pydantic, logging, gRPC's services of kserve and of health, its reflection, asyncio's
# protocols and those of uvicorn and httptools, http.server, and joblib.
DECORATORS = ["@model_validator*", "@field_validator*", "@model_serializer*"]
NAMES = [
    "Model*",
    "do_*",
    "log_message",
    "Server*",
    "Watch",
    "FindFile*",
    "capture_signals",
    "data_received",
    "flush",
    "on_body",
    "effective_n_jobs",
    "get_nested_backend",
    "retrieve_result_callback",
    "stop_call",
]

search = Vulture(ignore_names=NAMES, ignore_decorators=DECORATORS)
search.scavenge(PLACES)
unused = [
    item
    for item in search.get_unused_code(min_confidence=60)
    if item.typ != "attribute"
    and not (item.typ == "variable" and item.filename.read_text().splitlines()[item.first_lineno - 1][0] == " ")
]
for item in unused:
    print(item.get_report())
sys.exit(bool(unused))
