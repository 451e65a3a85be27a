"""The pipeline's steps: thin KFP components, one a file, that call the library.

Each runs unchanged in a local process and in a container. The image is named once, here.
"""

import functools
import os

from kfp import dsl

# The image's tag is the digest of its content on a cluster; the local runner never pulls it.
IMAGE = os.environ.get("HEALTHRISK_PIPELINE_IMAGE", "healthrisk/pipeline-python:0.1.0")

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
