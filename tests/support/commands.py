"""The command line `python -m healthrisk`, called here: of its imports, which take seconds, each worker has one."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from healthrisk.__main__ import main


def healthrisk(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return the exit code and what was printed, as of a process with these words and variables."""
    arguments = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "argv", ["healthrisk", *arguments])
        for name, value in environment.items():
            patched.setenv(name, value)
        try:
            code = main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
