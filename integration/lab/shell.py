"""Running commands, with the output in the error when one fails."""

import os
import shlex
import subprocess
from dataclasses import dataclass

from .verdict import Failure, shorten


@dataclass
class Result:
    argv: list
    rc: int
    out: str
    err: str

    def __str__(self):
        said = shorten(self.err) or shorten(self.out) or "(no output)"
        return f"`{shlex.join(self.argv)}` ended with {self.rc}: {said}"


def run(*argv, check=True, stdin=None, timeout=60, env=None):
    """Runs a command; `check` True demands exit 0, an int demands that code, None takes any."""
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=clean_env(env),
        )
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"`{shlex.join(argv)}` did not end within {timeout} s") from expired
    result = Result(argv, done.returncode, done.stdout, done.stderr)
    demand(result, check)
    return result


def demand(result, check):
    if check is None:
        return
    wanted = 0 if check is True else check
    if result.rc != wanted:
        raise Failure(f"{result} (expected {wanted})")


def clean_env(extra=None):
    """The caller's environment without what would change how `stadium` behaves."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("STADIUM_")}
    for name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "RUST_LOG"):
        env.pop(name, None)
    env.update(extra or {})
    return env
