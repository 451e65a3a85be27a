"""Ask by MLServer's codecs: `python tests/clients/mlserver_codecs.py URL ROWS`; prints what they read."""

import json
import sys
import urllib.request

import pandas as pd
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestOutput


def ask(request: InferenceRequest) -> InferenceResponse:
    body = request.model_dump_json().encode()
    asked = urllib.request.Request(sys.argv[1], body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=180) as answer:
        return InferenceResponse.model_validate_json(answer.read())


def main() -> None:
    request = PandasCodec.encode_request(pd.DataFrame(json.loads(sys.argv[2])))
    unpacked = {}
    for output in ask(request).outputs:
        (codec,) = [one for one in (NumpyCodec, StringCodec) if one.ContentType == output.parameters.content_type]
        decoded = codec.decode_output(output)
        unpacked[output.name] = decoded if isinstance(decoded, list) else decoded.tolist()
    # A column of a frame holds one value a row; two numbers are one as JSON.
    rows = Parameters(content_type=PandasCodec.JsonContentType)
    request.outputs = [RequestOutput(name="probability", parameters=rows), RequestOutput(name="risk_level")]
    frame = PandasCodec.decode_response(ask(request))
    print(json.dumps({"arrays": unpacked, "frame": frame.to_dict(orient="list")}))


if __name__ == "__main__":
    main()
