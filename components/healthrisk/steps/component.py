"""What every step is made with: the image that it runs in, named once, here.

Apart from the package itself: what a step imports while it runs must not need what only the compiler of a pipeline has.
"""

import functools
import os

from kfp import dsl

from healthrisk import __version__

# The image's tag is the digest of its content on a cluster; the local runner never pulls it.
IMAGE = os.environ.get("HEALTHRISK_PIPELINE_IMAGE", f"healthrisk/pipeline-python:{__version__}")

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
