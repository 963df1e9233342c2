"""The program's verbs: what they print, how they exit, what they leave."""

import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

from lab import schema, shell, traffic
from lab.registry import scenario
from lab.verdict import at_least, at_most, contains, equal, true, until


@scenario("no-daemon", "with no daemon: status is an empty list, the other verbs say so and exit 3")
def no_daemon(lab):
    a = lab.node("a")
    a.write()
    equal(a.document(), {"schema": 1, "interfaces": []}, "status --json")
    equal(a.cli("status", a.file).rc, 0, "exit code of status")
    for argv in (("down",), ("reload",), ("ping",), ("wait", "--timeout", "1s")):
        verb, *rest = argv
        args = [verb, a.file, *(["b"] if verb == "ping" else []), *rest]
        result = a.cli(*args, check=3)
        true(result.err.strip(), f"{verb} explains itself")
        equal(result.out, "", f"stdout of {verb}")


@scenario("exit-codes", "wrong usage is 2, help and version are 0, messages go to stderr")
def exit_codes(lab):
    a = lab.node("a")
    for args in ((), ("frobnicate",), ("up",), ("up", "--nonsense", "x"), ("check",), ("genkey", "extra")):
        result = a.cli(*args, check=2)
        equal(result.out, "", f"stdout of `stadium {' '.join(args)}`")
        true(result.err, f"stderr of `stadium {' '.join(args)}`")
    contains(a.cli("--version").out, "stadium", "--version")
    contains(a.cli("--help").out, "status", "--help names the verbs")
    a.cli("up", "/nowhere/x.yaml", check=2)
    a.cli("pubkey", stdin="not a key\n", check=None)
    true(a.cli("pubkey", stdin="not a key\n", check=None).rc != 0, "pubkey refuses what is no key")
    contains(a.cli("completions", "bash").out, "stadium", "completions")
    contains(a.cli("man").out, ".TH", "man")


@scenario("keys", "genkey, pubkey and genpsk make what the peer file takes; init makes a whole file, never over another")
def keys(lab):
    a = lab.node("a")
    made = {a.genkey() for _ in range(5)} | {a.genpsk() for _ in range(5)}
    equal(len(made), 10, "different keys of ten")
    for key in made:
        true(re.fullmatch(r"[A-Za-z0-9+/]{43}=", key), f"form of a key: {len(key)} characters")
    # RFC 8032, section 7.1, test 1
    seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
    equal(a.pubkey(seed), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "public key of the RFC's seed")
    path = os.path.join(lab.dir, "fresh", "stadium7.yaml")
    result = a.cli("init", path)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the peer file")
    equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700, "mode of its folder")
    with open(path) as made_file:
        text = made_file.read()
    port = int(re.search(r"^\s*listen:\s*(\d+)", text, re.M).group(1))
    true(49152 <= port <= 65535, f"port {port} is a dynamic one")
    a.cli("check", path)
    again = a.cli("init", path, check=None)
    true(again.rc != 0, "init refuses to overwrite")
    with open(path) as made_file:
        equal(made_file.read(), text, "the file after the second init")
    print(result.out + result.err)


@scenario("detach", "up --detach returns when the node is ready; wait, ping, status and down work on it")
def detach(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    before = a.host.snapshot()
    logs = {}
    for node in (a, b):
        node.write()
        logs[node] = os.path.join(node.dir, "detached.log")
        start = time.monotonic()
        node.cli("up", node.file, "--detach", "--log-file", logs[node])
        at_most(round(time.monotonic() - start, 1), 5, "seconds until --detach returned")
        equal(len(node.document()["interfaces"]), 1, "interfaces at once after --detach")
        true("stadium0" in node.host.interfaces(), "the interface is there at once")
        equal(len(node.host.pids()), 2, "processes: the daemon and its helper")
    a.wait()
    b.wait(peer="a")
    traffic.must_reach(a.host, b.v4)
    result = a.cli("ping", a.file, "b", "--count", "3")
    true(re.search(r"\d+(\.\d+)? ?ms", result.out), f"ping prints round trips: {result.out}")
    people = a.cli("status", a.file).out
    for part in ("stadium0", "b", b.public_key, b.endpoint(4)):
        contains(people, part, "status for people")
    for secret in (a.private_key,):
        true(secret not in people + json.dumps(a.document()), "status shows no secret")
    # again: refused, and the running one is not disturbed
    second = a.cli("up", a.file, check=1)
    contains(second.err, "stadium0", "the second up names the interface")
    traffic.must_reach(a.host, b.v4, "after a second up was refused")
    for node in (a, b):
        node.cli("down", node.file)
        until("the daemon is gone", lambda n=node: not n.host.pids(), timeout=5)
    equal(a.host.snapshot(), before, "the namespace after down")
    for node, log in logs.items():
        with open(log) as text:
            written = text.read()
        true(written, f"{node.label} logged to its file")
        true(node.private_key not in written, "the log shows no secret")


@scenario("wait", "wait starts handshakes, waits for the daemon too, and says when it gives up")
def wait(lab):

    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    a.write()
    start = time.monotonic()
    a.cli("wait", a.file, "--timeout", "1s", check=3)
    at_least(time.monotonic() - start, 0.9, "seconds that wait waited for a daemon")
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(a.cli("wait", a.file, "--timeout", "15s", check=None)))
    waiter.start()
    time.sleep(0.5)
    a.up()
    start = time.monotonic()
    a.cli("wait", a.file, "--timeout", "1s", check=1)  # b is not there
    at_most(time.monotonic() - start, 3, "seconds that wait took with a time-out of one")
    b.up()
    waiter.join(20)
    equal([w.rc for w in waited], [0], "exit code of the wait that began before the daemon")
    a.wait(peer="b")
    result = a.cli("wait", a.file, "--peer", "nobody", "--timeout", "1s", check=None)
    true(result.rc in (1, 2), f"wait for a peer that is not in the file: {result}")


@scenario("watch", "status --watch --json prints one valid object a line")
def watch(lab):


    a, b = lab.pair()
    watching = subprocess.Popen(a.host.command(lab.stadium, "status", a.file, "--watch", "--json"),
                                stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    lines = [watching.stdout.readline() for _ in range(2)]
    watching.terminate()
    watching.wait(5)
    for line in lines:
        document = json.loads(line)
        schema.check_status(document)
        equal(len(document["interfaces"]), 1, "interfaces in a watched line")


@scenario("dry-run", "up --dry-run says what it would do, hides secrets and does nothing")
def dry_run(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, allowed=[f"{b.v4}/32", "192.168.44.0/24"])
    a.write()
    before = a.host.snapshot()
    result = a.cli("up", a.file, "--dry-run")
    text = result.out + result.err
    for part in ("stadium0", a.v4, "192.168.44.0/24", "51871"):
        contains(text, part, "the plan")
    true(a.private_key not in text, "the plan shows no secret")
    equal(a.host.snapshot(), before, "the namespace after a dry run")
    equal(a.document()["interfaces"], [], "interfaces after a dry run")


@scenario("status-all", "the status without an interface lists the daemons of /run/stadium")
def status_all(lab):
    # without a daemon of this machine's own it must be an empty list and exit 0
    a = lab.node("a")
    document = json.loads(a.cli("status", "--json").out)
    equal(document["schema"], 1, "schema")
    true(isinstance(document["interfaces"], list), "interfaces is a list")
    if not os.path.isdir("/run/stadium"):
        equal(document["interfaces"], [], "interfaces with no daemon")


@scenario("stale-socket", "a control socket that nobody answers on is replaced, with a line in the log")
def stale_socket(lab):

    a = lab.node("a")
    path = a.config["control"]["socket"]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    a.up()
    equal(len(a.document()["interfaces"]), 1, "interfaces")
    contains(a.log(), "socket", "the log tells")
    equal(stat.S_IMODE(os.stat(path).st_mode) & 0o007, 0, "the socket is closed to others")
    a.down()
    true(not os.path.exists(path), "the socket is removed at the end")


@scenario("log-json", "--log-format json writes one JSON object a line")
def log_json(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    b.up()
    a.up(args=("--log-format", "json"), env={"RUST_LOG": "debug"})
    a.wait()
    a.down()
    lines = [line for line in a.log().splitlines() if line.strip()]
    at_least(len(lines), 1, "log lines")
    for line in lines:
        try:
            json.loads(line)
        except ValueError:
            true(False, f"not JSON: {line}")
    true(a.private_key not in a.log(), "the log shows no secret even at debug level")


@scenario("hooks", "hooks run in order with their environment; a failing one takes everything down again")
def hooks(lab):
    a = lab.node("a")
    marks = os.path.join(a.dir, "marks")
    line = f'echo "$STADIUM_INTERFACE $STADIUM_PORT $STADIUM_MTU {{}}" >> {marks}'
    a.config["interface"]["hooks"] = {k: [line.format(k)] for k in ("pre_up", "post_up", "pre_down", "post_down")}
    before = a.host.snapshot()
    a.up()
    until("post_up ran", lambda: os.path.exists(marks) and "post_up" in open(marks).read(), timeout=3)
    a.down()
    with open(marks) as text:
        ran = [each.split() for each in text.read().splitlines()]
    equal([r[-1] for r in ran], ["pre_up", "post_up", "pre_down", "post_down"], "hooks in order")
    equal({r[0] for r in ran}, {"stadium0"}, "STADIUM_INTERFACE")
    equal({r[1] for r in ran}, {"51871"}, "STADIUM_PORT")
    a.config["interface"]["hooks"] = {"post_up": ["exit 7"]}
    a.write()
    result = a.cli("up", a.file, check=1)
    contains(result.err, "post_up", "the error names the hook")
    equal(a.host.snapshot(), before, "the namespace after a failing post_up")
    a.config["interface"]["hooks"] = {"post_down": ["exit 7"]}
    a.up()
    a.down()
    equal(a.host.snapshot(), before, "the namespace after a failing post_down")
    shell.run("chmod", "666", a.file)
    result = a.cli("up", a.file, check=None)
    a.host.run("true")
    true(result.rc != 0, "hooks of a file that others can write are refused")
    equal(a.host.snapshot(), before, "the namespace after the refusal")
