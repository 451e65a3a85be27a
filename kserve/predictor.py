"""The predictor: `python kserve/predictor.py --bundle ADDRESS`, as its ServingRuntime starts it."""

import sys

from healthrisk.serving.servers.predictor import main

if __name__ == "__main__":
    sys.exit(main())
