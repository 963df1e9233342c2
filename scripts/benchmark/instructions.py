"""Instructions per packet of the data path, by callgrind: they do not depend on the machine's load.

The counts to compare with are in `scripts/instructions.json`. They hold for processors with the
same vector units, since the cryptography chooses its code by them.
"""

import json
import os
import re
import shutil
import subprocess

TEST = "path_tests::counts::many_packets"
# name: bytes of TCP payload in a superpacket, superpackets of a round
CASES = {"full-sized segments": (41_040, 1), "small packets": (64, 32)}
SEGMENT = 1_368
ROUNDS = (50, 250)
TOLERANCE = 0.05


def test_binary(root):
    built = subprocess.run(
        ["cargo", "test", "--release", "--locked", "-p", "stadium-node", "--lib", "--no-run", "--message-format=json"],
        cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "stadium_node":
            return message["executable"]
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


def features():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    return [flag for flag in ("aes", "pclmulqdq", "avx2") if flag in flags]


def check_instructions(root, record, say):
    """Counts, prints, and returns 1 where a count has grown by more than 5 %."""
    if not shutil.which("valgrind"):
        raise SystemExit("bench: please install valgrind")
    binary = test_binary(root)
    per_packet = {}
    for name, (payload, batch) in CASES.items():
        packets = batch * -(-payload // SEGMENT) * (ROUNDS[1] - ROUNDS[0])
        cost = {}
        for inbound in (False, True):
            least, most = (count(binary, payload, inbound, rounds) for rounds in ROUNDS)
            cost[inbound] = (most - least) / packets
        per_packet[f"{name}, out"] = round(cost[False], 1)
        per_packet[f"{name}, in"] = round(cost[True] - cost[False], 1)
    path = os.path.join(root, "scripts", "instructions.json")
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    before = known.get("per_packet", {}) if known.get("features") == features() else {}
    grown = False
    for name, found in per_packet.items():
        change = found / before[name] - 1 if name in before else None
        grown |= change is not None and change > TOLERANCE
        print(f"{name:28} {found:9.1f} instructions a packet" + (f" ({change:+.1%})" if change is not None else ""))
    if record:
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"features": features(), "per_packet": per_packet}, out, indent=1)
            out.write("\n")
        say(f"wrote {path}")
        return 0
    if not before:
        say("nothing to compare with on a processor like this; --record keeps these counts")
    if grown:
        say("more than 5 % more instructions than before: find out why, or --record them and say so")
    return int(grown)
