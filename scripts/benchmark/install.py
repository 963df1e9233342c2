"""Gets the programs that are compared: Debian's by apt-get, others from crates.io by cargo.

What cargo builds goes into a folder outside the repository, `STADIUM_BENCH_TOOLS` or
`~/.cache/stadium-bench`, and stays there for the next time.
"""

import os
import shutil
import subprocess

FOLDER = os.environ.get("STADIUM_BENCH_TOOLS") or os.path.expanduser("~/.cache/stadium-bench")
QUIET = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


class NotInstalled(Exception):
    """A program that could not be had, and why."""


def extend_path():
    os.environ["PATH"] += os.pathsep.join(["", "/usr/sbin", "/sbin", os.path.expanduser("~/.cargo/bin"), f"{FOLDER}/bin"])


def debian(packages, say):
    if not shutil.which("apt-get"):
        raise NotInstalled(f"please install: {' '.join(packages)} (no apt-get here to do it)")
    say(f"installing {' '.join(packages)}")
    for argv in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *argv], env=QUIET, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(f"apt-get {argv[0]}: {last_line(done.stderr)}")


def crate(name, say):
    """Builds a crate as its authors locked it; that takes minutes."""
    if not shutil.which("cargo"):
        raise NotInstalled(f"no cargo to build {name} with")
    say(f"building {name} from crates.io into {FOLDER}")
    # the repository's own settings for cargo are none of its business
    done = subprocess.run(["cargo", "install", "--locked", "--quiet", "--root", FOLDER, name], cwd="/",
                          env={**os.environ, "CARGO_TARGET_DIR": os.path.join(FOLDER, "target")},
                          capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
        raise NotInstalled(f"cargo install {name}: {errors[0] if errors else last_line(done.stderr)}")


def provide(tunnels, say):
    """Installs what `tunnels` need and this machine lacks; returns why where that failed, by name."""
    failures = {}
    for tunnel in tunnels:
        missing = tunnel.missing()
        if not missing:
            continue
        try:
            packages = {"wg": "wireguard-tools", "openssl": "openssl"}
            wanted = {packages[program] for program in missing if program in packages}
            if tunnel.package and set(missing) - set(packages):
                wanted.add(tunnel.package)
            if wanted:
                debian(sorted(wanted), say)
            for name in tunnel.crates if set(missing) - set(packages) else ():
                crate(name, say)
        except NotInstalled as error:
            failures[tunnel.name] = str(error)
            say(f"{tunnel.name}: {error}")
    return failures


def last_line(text):
    return (text.strip().splitlines() or ["it failed without a word"])[-1]
