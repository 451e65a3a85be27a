"""The transformer: `python kserve/transformer.py --bundle ADDRESS`, as its InferenceService starts it."""

import sys

from healthrisk.serving.servers.transformer import main

if __name__ == "__main__":
    sys.exit(main())
