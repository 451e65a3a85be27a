"""The explainer: `python kserve/explainer.py --bundle ADDRESS`, as its InferenceService starts it."""

import sys

from healthrisk.serving.servers.explainer import main

if __name__ == "__main__":
    sys.exit(main())
