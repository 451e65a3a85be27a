"""Imports what a pod's process does to run a step: KFP as it is there, without its compiler, and what steps share."""

import importlib
import os

from healthrisk.steps.forked import SHARED

os.environ["_KFP_RUNTIME"] = "true"
for _name in ("kfp.dsl.executor", *SHARED, "healthrisk.registry.register"):
    # A step's process runs this one.
    if _name != "kfp.dsl.executor_main":
        importlib.import_module(_name)
