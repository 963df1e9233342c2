"""Instructions per packet of the data path, by callgrind: they do not depend on the machine's load.

The counts to compare with are in `scripts/instructions.json`. They hold for processors with the
same vector units, since the cryptography chooses its code by them, and for the compiler named there.
A second build, in which noise is compiled out, tells what noise costs where it is off.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile

TEST = "path_tests::counts::many_packets"
WITHOUT_NOISE = "stadium_without_noise"
# name: bytes of TCP payload in a superpacket, superpackets of a round
CASES = {"full-sized segments": (41_040, 1), "small packets": (64, 32)}
SEGMENT = 1_368
ROUNDS = (50, 250)
TOLERANCE = 0.05
NOISE_TOLERANCE = 0.01


def test_binary(root, folder, *flags):
    """Builds the tests of the data path as the program is built, and returns a copy of them."""
    built = subprocess.run(
        ["cargo", "rustc", "--profile", "bench", "--locked", "-p", "stadium-node", "--lib",
         "--message-format=json", "--", *(part for flag in flags for part in ("--cfg", flag))],
        cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "stadium_node":
            # the next build may have the same place
            return shutil.copy(message["executable"], os.path.join(folder, "-".join(["tests", *flags])))
    raise SystemExit("bench: cargo built no test of stadium-node")


def count(binary, payload, inbound, rounds):
    environment = {**os.environ, "STADIUM_COUNT_ROUNDS": str(rounds), "STADIUM_COUNT_PAYLOAD": str(payload),
                   "STADIUM_COUNT_INBOUND": str(int(inbound))}
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, TEST, "--exact", "--ignored",
         "--test-threads=1"], env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found or "1 passed" not in done.stdout:
        raise SystemExit(f"bench: callgrind failed\n{done.stdout[-500:]}{done.stderr[-800:]}")
    return int(found[1])


def per_packet(binary):
    """Returns the instructions of each case and direction, free of all set-up."""
    found = {}
    for name, (payload, batch) in CASES.items():
        packets = batch * -(-payload // SEGMENT) * (ROUNDS[1] - ROUNDS[0])
        cost = {}
        for inbound in (False, True):
            least, most = (count(binary, payload, inbound, rounds) for rounds in ROUNDS)
            cost[inbound] = (most - least) / packets
        found[f"{name}, out"] = round(cost[False], 1)
        found[f"{name}, in"] = round(cost[True] - cost[False], 1)
    return found


def made_for(root):
    """What the counts depend on besides the code: vector units and compiler."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    version = subprocess.run(["rustc", "--version"], cwd=root, check=True, capture_output=True, text=True).stdout
    return {"features": [flag for flag in ("aes", "pclmulqdq", "avx2") if flag in flags],
            "rustc": " ".join(version.split()[1:2])}


def check_instructions(root, record, say):
    """Counts, prints, and returns 1 where a count has grown too much or noise costs too much."""
    if not shutil.which("valgrind"):
        raise SystemExit("bench: please install valgrind")
    with tempfile.TemporaryDirectory(prefix="stadium-count-") as folder:
        found = per_packet(test_binary(root, folder))
        without = per_packet(test_binary(root, folder, WITHOUT_NOISE))
    path = os.path.join(root, "scripts", "instructions.json")
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    here = made_for(root)
    before = known.get("per_packet", {}) if known.get("features") == here["features"] else {}
    status = 0
    for name, value in found.items():
        change = value / before[name] - 1 if name in before else None
        noise = value / without[name] - 1
        print(f"{name:28} {value:9.1f} instructions a packet"
              + (f", {change:+.1%} since they were recorded" if change is not None else "")
              + f"; {without[name]:9.1f} with noise compiled out, so noise that is off costs {noise:+.2%}")
        if not record and change is not None and change > TOLERANCE:
            say(f"{name}: more than {TOLERANCE:.0%} more instructions than recorded: find out why, or --record them and say so")
            status = 1
        if noise > NOISE_TOLERANCE:
            say(f"{name}: noise that is off costs more than {NOISE_TOLERANCE:.0%}")
            status = 1
    if record:
        with open(path, "w", encoding="utf-8") as out:
            json.dump({**here, "per_packet": found, "per_packet_without_noise": without}, out, indent=1)
            out.write("\n")
        say(f"wrote {path}")
    elif not before:
        say("nothing to compare with on a processor like this; --record keeps these counts")
    elif known.get("rustc") != here["rustc"]:
        say(f"recorded with rustc {known.get('rustc')}, counted with {here['rustc']}: compilers differ by some per cent")
    return status
