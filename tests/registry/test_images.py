"""What a file of images may say; how they are carried is shown by test_promotion.py."""

from pathlib import Path

import pytest

from healthrisk.errors import ConfigError
from healthrisk.registry import images

DIGEST = f"sha256:{'1' * 64}"
SERVING = f"SERVING_IMAGE=registry.example:5000/a/healthrisk/serving:python3.11-0.2@{DIGEST}"


def test_what_make_images_writes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "images.env"
    file.write_text(f"{SERVING.replace('SERVING', 'PIPELINE').replace('serving', 'pipeline')}\n{SERVING}\n")
    pipeline, serving = images.read(file)
    assert (pipeline.variable, pipeline.name) == ("PIPELINE_IMAGE", "healthrisk/pipeline:python3.11-0.2")
    assert (serving.registry, serving.digest) == ("registry.example:5000/a", DIGEST)
    assert f"SERVING_IMAGE={serving.address}" == SERVING


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it names none"),
        (SERVING.partition("@")[0], "expected SERVING_IMAGE=HOST/PATH/healthrisk/serving:TAG@DIGEST"),
        (SERVING.replace("SERVING_IMAGE", "PATH"), "'PATH=registry"),
        (f"{SERVING};id", "expected SERVING_IMAGE="),
        (SERVING.replace("/a/", "/$(id)/"), "expected SERVING_IMAGE="),
        ("\0", "expected SERVING_IMAGE="),
    ],
)
def test_what_names_anything_else_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "images.env").write_text(text)
    with pytest.raises(ConfigError) as refused:
        images.read(tmp_path / "images.env")
    assert says in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        images.read(tmp_path)
