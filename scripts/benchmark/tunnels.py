"""The tunnels that are compared. `start` leaves both tunnel addresses reachable."""

import os
import re
import shutil

from lab.manykeys import public_keys

from .lab import TUNNEL, UNDERLAY, sh

ENDS = (("a", "b"), ("b", "a"))


class Tunnel:
    """One way to join two hosts.

    `needs` are programs on PATH; `package` is the Debian package, `crates` are the crates of
    crates.io that have them.
    """

    def __init__(self, name, note, mtu=1420, needs=(), package=None, crates=()):
        self.name, self.note, self.mtu, self.needs = name, note, mtu, needs
        self.package, self.crates = package, crates

    def missing(self):
        return [program for program in self.needs if not shutil.which(program)]

    def start(self, lab):
        raise NotImplementedError


class Veth(Tunnel):
    def start(self, lab):
        lab.tunnel = dict(UNDERLAY)


class Stadium(Tunnel):
    def __init__(self, name, note, program, interface="", document=""):
        super().__init__(name, note, needs=(program,))
        self.program, self.interface, self.document = program, interface, document

    def start(self, lab):
        keys = {side: sh(self.program, "genkey").strip() for side in "ab"}
        public = {side: sh(self.program, "pubkey", stdin=keys[side] + "\n").strip() for side in "ab"}
        for side, other in ENDS:
            peers = self.peers(lab, side, other, public[other])
            path = lab.write(f"{side}.yaml", f"""interface:
  name: st{side}
  private_key: {keys[side]}
  address: [{TUNNEL[side]}/24]
  listen: 51871
  mtu: {self.mtu}
{self.interface}control:
  socket: {lab.folder}/{side}.sock
{self.document}peers:
{peers}""")
            lab.daemon(side, self.program, "up", path)
            lab.wait_for(side, f"st{side}", 60)

    def peers(self, _lab, _side, other, public):
        return f"""  - name: other
    public_key: {public}
    endpoint: "{UNDERLAY[other]}:51871"
    allowed_ips: [{TUNNEL[other]}/32]
"""


class Crowd(Stadium):
    """Stadium with further configured peers that are never there."""

    def __init__(self, peers, program):
        super().__init__(f"stadium-{peers}-peers", f"Stadium with {peers} configured peers, of which one is there", program)
        self.count = peers

    def peers(self, lab, side, other, public):
        text = [super().peers(lab, side, other, public)]
        for number, key in enumerate(public_keys(self.count - 1)):
            text.append(f"  - public_key: {key}\n    allowed_ips: [10.99.{number // 256}.{number % 256}/32]\n")
        return "".join(text)


class Forwarder(Tunnel):
    """A tunnel without cryptography: the project's own, or another of the same usage."""

    def __init__(self, name, note, program, mode):
        super().__init__(name, note, needs=(program,))
        self.program, self.mode = program, mode

    def start(self, lab):
        for side, other in ENDS:
            lab.daemon(side, self.program, "fwd", UNDERLAY[side], UNDERLAY[other], 5555, self.mode)
            lab.wait_for(side, "fwd")
            lab.set_up(side, "fwd", self.mtu)


class WireGuard(Tunnel):
    """Anything that `wg set` configures over a socket in /var/run/wireguard."""

    def __init__(self, name, note, argv, package=None, crates=()):
        super().__init__(name, note, needs=(argv[0], "wg"), package=package, crates=crates)
        self.argv = argv

    def start(self, lab):
        keys = {side: sh("wg", "genkey").strip() for side in "ab"}
        for side, other in ENDS:
            device = f"wb{side}{os.getpid() % 100000}{lab.count}"
            lab.daemon(side, *self.argv, device, env={"LOG_LEVEL": "error"})
            lab.wait_for(side, device)
            public = sh("wg", "pubkey", stdin=keys[other] + "\n").strip()
            key = lab.write(f"{side}.key", keys[side])
            lab.run(side, "sh", "-c", f"for n in 1 2 3 4 5 6 7 8 9; do test -S /var/run/wireguard/{device}.sock && break; sleep 0.2; done")
            lab.run(side, "wg", "set", device, "private-key", key, "listen-port", 51820, "peer", public,
                    "allowed-ips", "10.88.0.0/24", "endpoint", f"{UNDERLAY[other]}:51820")
            lab.set_up(side, device, self.mtu)


class Quincy(Tunnel):
    """One end is the server; it gives the other the first address of its pool."""

    def start(self, lab):
        # its Noise mode takes X25519 keys, as WireGuard does
        keys = {side: sh("wg", "genkey").strip() for side in "ab"}
        public = {side: sh("wg", "pubkey", stdin=keys[side] + "\n").strip() for side in "ab"}
        users = lab.write("users.toml", f'[users.b]\nauthorized_keys = ["{public["b"]}"]\n')
        lab.daemon("a", "quincy-server", "--config-path", lab.write("server.toml", f"""name = "bench"
interface_name = "quincy"
bind_address = "{UNDERLAY["a"]}"
bind_port = 55555
tunnel_network = "{TUNNEL["a"]}/24"
users_file = "{users}"
[protocol]
mode = "noise"
private_key = "{keys["a"]}"
[connection]
mtu = {self.mtu}
[log]
level = "warn"
"""))
        lab.wait_for("a", "quincy")
        lab.daemon("b", "quincy-client", "--config-path", lab.write("client.toml", f"""connection_string = "{UNDERLAY["a"]}:55555"
[protocol]
mode = "noise"
server_public_key = "{public["a"]}"
private_key = "{keys["b"]}"
[connection]
mtu = {self.mtu}
[network]
interface_name = "quincy"
[log]
level = "warn"
"""))
        lab.wait_for("b", "quincy")


class OpenVpn(Tunnel):
    def start(self, lab):
        prints = {}
        for side in "ab":
            sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", 2, "-subj", f"/CN={side}", "-keyout", f"{lab.folder}/{side}.key", "-out", f"{lab.folder}/{side}.crt")
            out = sh("openssl", "x509", "-in", f"{lab.folder}/{side}.crt", "-noout", "-fingerprint", "-sha256")
            prints[side] = out.split("=")[1].strip()
        for side, other in ENDS:
            role = ("--tls-server", "--dh", "none") if side == "a" else ("--tls-client",)
            lab.daemon(side, "openvpn", "--dev", "ovpn", "--dev-type", "tun", "--proto", "udp4",
                       "--local", UNDERLAY[side], "--lport", 1194, "--remote", UNDERLAY[other], 1194, "udp4",
                       "--ifconfig", TUNNEL[side], TUNNEL[other], "--tun-mtu", self.mtu, "--mssfix", 0, *role,
                       "--key", f"{lab.folder}/{side}.key", "--cert", f"{lab.folder}/{side}.crt",
                       "--peer-fingerprint", prints[other], "--data-ciphers", "AES-256-GCM", "--verb", 1)
        for side in "ab":
            lab.wait_for(side, "ovpn")


class Nebula(Tunnel):
    def start(self, lab):
        ca, key = f"{lab.folder}/ca.crt", f"{lab.folder}/ca.key"
        sh("nebula-cert", "ca", "-name", "bench", "-out-crt", ca, "-out-key", key)
        for side, other in ENDS:
            own = f"{lab.folder}/{side}"
            sh("nebula-cert", "sign", "-ca-crt", ca, "-ca-key", key, "-name", side, "-ip", f"{TUNNEL[side]}/24",
               "-out-crt", f"{own}.crt", "-out-key", f"{own}.key")
            hosts = "" if side == "a" else f'"{TUNNEL["a"]}"'
            lab.daemon(side, "nebula", "-config", lab.write(f"{side}.yml", f"""
pki: {{ca: {ca}, cert: {own}.crt, key: {own}.key}}
static_host_map: {{"{TUNNEL[other]}": ["{UNDERLAY[other]}:4242"]}}
lighthouse: {{am_lighthouse: {"true" if side == "a" else "false"}, hosts: [{hosts}]}}
listen: {{host: 0.0.0.0, port: 4242}}
cipher: aes
tun: {{dev: neb, mtu: {self.mtu}}}
logging: {{level: error}}
firewall: {{outbound: [{{port: any, proto: any, host: any}}], inbound: [{{port: any, proto: any, host: any}}]}}
"""))
        for side in "ab":
            lab.wait_for(side, "neb")


class Tinc(Tunnel):
    def start(self, lab):
        public = {}
        for side in "ab":
            os.makedirs(f"{lab.folder}/{side}/hosts")
            sh("openssl", "genrsa", "-traditional", "-out", f"{lab.folder}/{side}/rsa_key.priv", 2048)
            public[side] = sh("openssl", "rsa", "-in", f"{lab.folder}/{side}/rsa_key.priv", "-RSAPublicKey_out")
        for side, other in ENDS:
            connect = "" if side == "a" else f"ConnectTo = {other}\n"
            lab.write(f"{side}/tinc.conf", f"Name = {side}\nAddressFamily = ipv4\nInterface = tinc\nDeviceType = tun\n{connect}")
            up = lab.write(f"{side}/tinc-up", f"#!/bin/sh\nip link set $INTERFACE mtu {self.mtu} up\n"
                           f"ip address add {TUNNEL[side]}/24 dev $INTERFACE\n")
            os.chmod(up, 0o755)
            for host in "ab":
                lab.write(f"{side}/hosts/{host}", f"Address = {UNDERLAY[host]}\nSubnet = {TUNNEL[host]}/32\n"
                          f"Cipher = aes-256-cbc\nDigest = sha256\nCompression = 0\n{public[host]}")
            lab.daemon(side, "tincd", "-D", "-c", f"{lab.folder}/{side}", "--pidfile", f"{lab.folder}/{side}/pid")
        for side in "ab":
            lab.wait_for(side, "tinc")


class Fastd(Tunnel):
    def start(self, lab):
        keys = {}
        for side in "ab":
            out = sh("fastd", "--generate-key")
            keys[side] = [re.search(rf"{kind}:\s*(\w+)", out)[1] for kind in ("Secret", "Public")]
        for side, other in ENDS:
            lab.daemon(side, "fastd", "--config", lab.write(f"{side}.conf", f"""
log level warn;
mode tun; interface "fastd"; method "salsa2012+umac"; mtu {self.mtu};
bind {UNDERLAY[side]}:10000; secret "{keys[side][0]}";
on up "ip address add {TUNNEL[side]}/24 dev $INTERFACE; ip link set $INTERFACE up";
peer "{other}" {{ key "{keys[other][1]}"; remote {UNDERLAY[other]}:10000; }}
"""))
        for side in "ab":
            lab.wait_for(side, "fastd")


def all_tunnels(stadium, forwarder, reference=None, before=None):
    """Every tunnel, by name; `stadium`, `forwarder`, `reference` and `before` are programs."""
    tunnels = [
        Stadium("stadium", "Stadium, AES-256-GCM", stadium, document="ciphers: [aes-256-gcm]\n"),
        Stadium("stadium-chacha", "Stadium, ChaCha20-Poly1305", stadium, document="ciphers: [chacha20-poly1305]\n"),
        Stadium("stadium-no-offload", "Stadium, `offload: off`", stadium, interface="  offload: off\n"),
        *(Stadium(f"stadium-{n}-workers", f"Stadium, {n} workers", stadium, interface=f"  workers: {n}\n") for n in (1, 2, 4)),
        Forwarder("forwarder", "no cryptography, TUN and UDP offloads, one thread a direction", forwarder, "gso"),
        Forwarder("forwarder-no-offload", "no cryptography, one packet a system call", forwarder, "nogso"),
        Veth("veth", "no tunnel at all", mtu=1500),
        WireGuard("wireguard-go", "wireguard-go as found on PATH", ("wireguard-go", "-f"), "wireguard-go"),
        WireGuard("boringtun", "boringtun-cli, from crates.io", ("boringtun-cli", "-f", "--disable-drop-privileges"), crates=("boringtun-cli",)),
        WireGuard("gotatun", "gotatun-cli, from crates.io", ("gotatun", "-f", "--disable-drop-privileges"), crates=("gotatun-cli",)),
        Quincy("quincy", "quincy over QUIC, its Noise mode, from crates.io", mtu=1400,
               needs=("quincy-server", "quincy-client", "wg"), crates=("quincy-server", "quincy-client")),
        OpenVpn("openvpn", "OpenVPN over UDP, AES-256-GCM", needs=("openvpn", "openssl"), package="openvpn"),
        Nebula("nebula", "nebula, AES-256-GCM", needs=("nebula", "nebula-cert"), package="nebula"),
        Tinc("tinc", "tinc 1.0, AES-256-CBC and SHA-256", needs=("tincd", "openssl"), package="tinc"),
        Fastd("fastd", "fastd, salsa2012+umac", needs=("fastd",), package="fastd"),
        *(Crowd(n, stadium) for n in (10, 100, 1000)),
    ]
    if reference:
        tunnels.append(Forwarder("reference", "another forwarder, to check `forwarder` against", reference, "gso"))
    if before:
        tunnels.append(Stadium("stadium-before", "another build of Stadium, AES-256-GCM", before, document="ciphers: [aes-256-gcm]\n"))
    return {tunnel.name: tunnel for tunnel in tunnels}
