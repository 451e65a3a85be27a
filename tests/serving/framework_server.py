"""Our transformer behind kserve's own server and routes, to compare answers with; arguments as transformer.py's."""

from pathlib import Path

import kserve
from healthrisk.bundle import Bundle
from healthrisk.serving.servers.arguments import arguments, check
from healthrisk.serving.servers.model_server import BundleServer
from healthrisk.serving.servers.transformer import make

if __name__ == "__main__":
    args = arguments()
    bundle = Bundle.open(Path(args.bundle))
    model = make(BundleServer(args, check(args), bundle), bundle)
    model.load()
    kserve.ModelServer(http_port=args.http_port, grpc_port=args.grpc_port).start([model])
