"""Where work is done: in this process, or on a Dask cluster that HEALTHRISK_DASK names; the same comes out.

Imports the root alone.
"""

from healthrisk.engine.merge import merge
from healthrisk.engine.models import parallel_config, side_by_side
from healthrisk.engine.tasks import Tasks, connect

__all__ = ["Tasks", "connect", "merge", "parallel_config", "side_by_side"]
