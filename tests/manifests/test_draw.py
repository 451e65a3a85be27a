"""The picture of the cluster is what the policies say."""

import os
import sys
from pathlib import Path

from tests.support.manifest_rules import ROOT, script


def test_the_picture_is_drawn_from_the_policies_as_they_are(tmp_path: Path) -> None:
    tools = f"{ROOT / '.tools'}:{os.environ['PATH']}"
    done = script(sys.executable, "manifests/draw.py", str(tmp_path / "network.svg"), PATH=tools)
    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "network.svg").read_text()
    assert drawn == (ROOT / "manifests" / "network.svg").read_text(), "run `make network-picture`"
    assert '<g data-from="transformer" data-to="predictor">' in drawn
    assert '<g data-from="kubeflow" data-to="predictor">' not in drawn
