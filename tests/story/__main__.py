"""Live through the story of a model on this machine, with real processes and the real pipeline, and draw it.

python -m tests.story [--patients 250] [--out FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from healthrisk.deployment.cluster import Deployed
from healthrisk.registry import versions
from tests.story import dashboard, one_machine, page
from tests.story.course import Course, Scale
from tests.story.world import NAME, World
from tests.support.outcomes import KEY
from tests.support.servers import ROOT


def main() -> int:
    """Live through it, telling of each week; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=250, help="a week (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other patients")
    parser.add_argument("--out", type=Path, default=Path(), help="where story.html, story.png and dashboard.png go (.)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="healthrisk-story-") as name:
        home = Path(name)
        os.environ |= {"HEALTHRISK_HOME": name, "HEALTHRISK_RECEIPT_KEY": KEY}
        scale = Scale(patients=args.patients, good=4, worse=12, after=4)
        try:
            with one_machine.opened(home) as opened:
                course = Course(opened, World(args.seed), scale, lambda line: print(line, flush=True))
                begun = time.time()
                story = course.live(_train, home)
                panels = dashboard.ask(opened.prometheus, begun)
        except pytest.skip.Exception as missing:
            print(missing, file=sys.stderr)
            return 1
    page.write(story, args.out, one_machine.WHERE)
    dashboard.draw(panels, args.out / "dashboard.png")
    print(f"{args.out / 'story.html'}")
    return 0


def _train(table: Path | None) -> Deployed:
    """Run the pipeline: on the shipped table, or on the newest patients for a version that is to be rolled out."""
    command = [sys.executable, "pipelines/train_pipeline.py", "--dataset", NAME]
    command += ["--data", str(table), "--rollout"] if table else []
    print(" ".join(["python", *command[1:]]), flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    version = versions.by_alias(NAME, versions.CHALLENGER if table else versions.CHAMPION)
    assert version is not None, "the run's version has another alias: it was not shown to be better"
    return Deployed(version.number, version.uri, version.digest)


if __name__ == "__main__":
    sys.exit(main())
