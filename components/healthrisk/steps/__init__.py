"""The pipeline's steps: thin KFP components, one a file, that call the library. The one room that imports kfp.

Each runs unchanged in a local process and in a container. The image is named once, here. Imports any room.
"""

import functools
import os

from kfp import dsl

from healthrisk import __version__

# The image's tag is the digest of its content on a cluster; the local runner never pulls it.
IMAGE = os.environ.get("HEALTHRISK_PIPELINE_IMAGE", f"healthrisk/pipeline-python:{__version__}")

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
