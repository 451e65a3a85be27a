"""Our transformer behind kserve's own server and routes, to compare answers with; arguments as transformer.py's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "kserve"))

import kserve
from bundle_server import BundleServer, arguments
from healthrisk.bundle import Bundle
from transformer import make

if __name__ == "__main__":
    args = arguments()
    bundle = Bundle.open(Path(args.bundle))
    model = make(BundleServer(args, bundle), bundle)
    model.load()
    kserve.ModelServer(http_port=args.http_port, grpc_port=args.grpc_port).start([model])
