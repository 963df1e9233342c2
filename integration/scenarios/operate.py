"""What an operator does to a running node: invite a peer, look at metrics and events, confirm."""

import json
import os
import subprocess
import time

from lab import shell, traffic
from lab.registry import scenario
from lab.verdict import contains, equal, true, until


@scenario("invite", "peer invite makes a whole file and adds the peer to the running daemon; the new node just comes up")
def invite(lab):
    a, b = lab.node("a"), lab.node("b")
    a.up()
    out = os.path.join(b.dir, "invited.yaml")
    a.cli("peer", "invite", a.file, "guest", "--endpoint", a.endpoint(4), "--out", out)
    with open(out) as made:
        text = made.read()
    equal(os.stat(out).st_mode & 0o777, 0o600, "mode of the invitation")
    contains(text, "private_key", "the invitation")
    socket = os.path.join(b.dir, "guest.sock")
    with open(out, "a") as made:
        made.write(f"control: {{socket: {socket}}}\n")
    b.cli("check", out)
    with open(b.log_file, "ab") as log:
        b.process = subprocess.Popen(b.host.command(lab.stadium, "up", out), stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, env=shell.clean_env(None), start_new_session=True)
    b.cli("wait", out, "--timeout", "15s", timeout=25)
    traffic.must_reach(b.host, a.v4, "from the invited node")
    guest = next(p for p in a.status()["peers"] if p["name"] == "guest")
    equal(guest["state"], "up", "state of the guest at a")
    a.cli("peer", "remove", a.file, "guest")
    equal(a.status()["peers"], [], "peers after the removal")
    contains(a.cli("peer", "remove", a.file, "guest", check=2).err, "guest", "a second removal")


@scenario("metrics", "control.metrics serves Prometheus text with the figures of the status")
def metrics(lab):
    a, b = lab.node("a"), lab.node("b")
    a.config["control"]["metrics"] = "127.0.0.1:9871"
    a.add_peer(b)
    b.add_peer(a)
    a.up()
    b.up()
    a.wait()
    traffic.must_reach(a.host, b.v4)
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9871/metrics').read().decode())"
    text = a.host.run("python3", "-c", program).out
    contains(text, 'stadium_peer_up{interface="stadium0",peer="b"} 1', "metrics")
    sent = next(line for line in text.splitlines() if line.startswith("stadium_transmit_packets_total"))
    true(int(sent.split()[-1]) >= 1, f"packets that were sent: {sent}")
    true(a.private_key not in text, "metrics show no secret")
    a.down()
    gone = a.host.run("python3", "-c", program, check=None)
    true(gone.rc != 0, "nobody serves metrics after down")


@scenario("events", "status --events tells of sessions as they come and go, and ends with the daemon")
def events(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    a.up()
    path = os.path.join(lab.dir, "events")
    with open(path, "wb") as out:
        listener = subprocess.Popen(a.host.command(lab.stadium, "status", a.file, "--events"), stdout=out)
    lab.on_close(listener.kill)

    def seen():
        with open(path) as lines:
            return [json.loads(line) for line in lines.read().splitlines()]

    def happened(name):
        return [e for e in seen() if e["event"] == name]

    until("the stream begins", lambda: happened("subscribed"), timeout=5)
    b.up()
    a.wait()
    up, _ = until("session_up is told", lambda: happened("session_up"), timeout=5)
    equal(up[0]["peer"], {"name": "b", "public_key": b.public_key}, "the peer of the event")
    equal(up[0]["session"], a.session(b)["id"], "the session of the event")
    b.down()
    until("peer_closed is told", lambda: happened("peer_closed"), timeout=5)
    a.down()
    equal(listener.wait(5), 0, "exit code of the stream")
    equal(seen()[-1]["event"], "stopping", "the last event")


@scenario("confirm", "up --confirm takes everything down again unless it is confirmed in time")
def confirm(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    before = a.host.snapshot()
    a.up(args=("--confirm", "2s"))
    equal(a.process.wait(10), 1, "exit code of what nobody confirmed")
    a.process = None
    contains(a.log(), "stadium confirm", "the log says why")
    equal(a.host.snapshot(), before, "the namespace afterwards")
    a.up(args=("--confirm", "3s"))
    a.cli("confirm", a.file)
    time.sleep(3.5)
    equal(len(a.document()["interfaces"]), 1, "interfaces after a confirmation")
    a.cli("status", a.file, "--check", "live")
    a.down()
    equal(a.cli("status", a.file, "--check", "live", check=None).rc, 3, "exit code of the probe after down")
