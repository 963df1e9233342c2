"""Runs Verifpal on the handshakes, early data and RETRY, whole and with parts taken away, and
compares the results.

    check.py            all cases
    check.py NAME...    some cases
    check.py --names    only whether model, code and specification use the same names

A case is a model after some edits. Its expectation has one letter and digit a query of the model,
in order; with handshakes: c confidentiality of what the initiator sends, c of what the responder
sends, a the initiator's frame at the responder, a the responder's at the initiator, f freshness;
e that both sides mean the same; 0 holds, 1 falls. A case whose edits weaken the protocol must
fall: a model that nothing breaks proves nothing.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent
MODELS = {name: (HERE / f"{name}.vp").read_text() for name in ("handshake", "open", "early", "retry")}
MODEL = MODELS["handshake"]
PATIENCE = 600  # seconds for a case


class Edit:
    """One change of the model's text; it must hit as often as it says."""

    def __init__(self, pattern, by, times):
        self.pattern, self.by, self.times = pattern, by, times

    def __call__(self, text):
        text, hits = re.subn(self.pattern, self.by, text, flags=re.MULTILINE)
        if hits != self.times:
            raise SystemExit(f"{self.pattern!r} hits {hits} times in the model, not {self.times}")
        return text


def mixes_nothing(n):
    """The Nth mixing of both sides mixes what everybody knows."""
    head = rf"^(\t[ir]ck{n}, \w+ = HKDF\(\w+, )"
    return [Edit(head + r"(?:DH_KEX\([^)]*\)|\w+)(, info\))", r"\1nil\2", 2)]


ES = [Edit(r"^(\t[ir]ck1, [ir]k1 = HKDF\(protocol, )DH_KEX\([^)]*\)", r"\1nil", 2)]
CONNECTION_KEY, SS, EE, SE, KEM, PSK = (mixes_nothing(n) for n in range(2, 8))
NO_SIGNATURE = [Edit(r"^\t_ = SIGNVERIF\(.*\n", "", 1)]
STATIC_EPHEMERALS = [
    Edit(r"^\tgenerates e_r$", "\tknows private e_r", 1),
    Edit(r"^\tgenerates rn2, lbm_r$", "\tknows private lbm_r, rn2", 1),
]
UNGUARDED_R = [Edit(r"\[pk_r\]", "pk_r", 1)]
UNGUARDED_I = [Edit(r"\[pk_i\]", "pk_i", 1)]

WITHOUT_KEM = KEM + [
    Edit(r"^\tkem_key = .*\n", "", 1),
    Edit(r"^\t[ir]kem_secret.* = .*\n", "", 2),
    Edit(r", kem_d$", "", 1),
    Edit(r", kem_m$", "", 1),
    Edit(r", r?kem_key", "", 4),
    Edit(r"kem_ct, ", "", 3),
]
WITHOUT_PSK = PSK + [Edit(r"^\tknows private psk\n", "", 2)]
CLASSIC = WITHOUT_KEM + WITHOUT_PSK


def leaks(principal, keys):
    """A principal's keys are known from the start."""
    return [Edit(rf"^(principal {principal}\[\n(?:\t.*\n)*?\tpk_.*\n)", rf"\1\tleaks {keys}\n", 1)]


def leaks_ephemeral(key):
    """An ephemeral secret is known as soon as it is made."""
    return [Edit(rf"^(\teph_. = PUBKEY\({key}\)\n)", rf"\1\tleaks {key}\n", 1)]


def later(text):
    """Keys become known after the session."""
    return [Edit(r"^queries\[", f"phase[1]\n\n{text}\n\nqueries[", 1)]


BOTH_LATER = later("principal Initiator[\n\tleaks v_i\n]\n\nprincipal Responder[\n\tleaks v_r\n]")
PSK_LATER = later("principal Initiator[\n\tleaks v_i, psk\n]\n\nprincipal Responder[\n\tleaks v_r\n]")
QUANTUM = later("principal Initiator[\n\t_ = HASH(nil)\n]") + [
    Edit(r"^(\t(?:pk|eph)_. = )PUBKEY\(", r"\1PUBKEY[weak from phase 1](", 4),
]
ONLY_SECRECY = [Edit(r"^\t(?:authentication|freshness)\?.*\n", "", 3)]

# the open handshake, in which the responder takes whoever signs, so that the attacker is a peer too
ANY_PEER = [
    Edit(r"^\t_ = ASSERT\(cell_i, pk_i\)\?\n", "", 1),
    Edit(r"^(\tknows private v_[ir])$", r"\1, payload_i", 2),
    Edit(r"^\tgenerates in3, payload_i$", "\tgenerates in3", 1),
    Edit(r"^\t_ = HASH\(rgot\)\n(?:.*\n)*?\]",
         "\t_ = ASSERT(rgot, payload_i)?\n\twho_r = HASH(cell_i)\n]", 1),
    Edit(r"^Responder -> Initiator: rn4, D2\n\nprincipal Initiator\[\n(?:.*\n)*?\]\n\n", "", 1),
    Edit(r"^queries\[\n(?:.*\n)*?\]", "queries[\n\tequivalence? who_i, who_r\n]", 1),
]
OPEN_SE = mixes_nothing(2)
UNBOUND = [Edit(r", cell_i, isig, eph_r\)", ", eph_r)", 2)]
REQUEST_UNSIGNED = [Edit(r"^\t_ = SIGNVERIF\(cell_i, .*\n", "", 1)]
CONSENT_UNSIGNED = [Edit(r"^\t_ = SIGNVERIF\(pk_r, .*\n", "", 1)]
WITHOUT_TICKET = [Edit(r"^(\t[ir]key = HKDF\([ir]h2, )early,", r"\1nil,", 2)]
EARLY_LATER = later("principal Initiator[\n\tleaks early\n]")

# name: (edits, expectation, sessions), and the model where it is not the encrypted handshake
CASES = {
    # what must hold
    "classic": (CLASSIC, "c0c0a0a0f0", 2),
    "psk": (WITHOUT_KEM, "c0c0a0a0f0", 2),
    "hybrid": (WITHOUT_PSK, "c0c0a0a0f0", 2),
    "hybrid-psk": ([], "c0c0a0a0f0", 2),
    "classic-forward-secrecy": (CLASSIC + BOTH_LATER + ONLY_SECRECY, "c0c0", 2),
    "psk-forward-secrecy": (WITHOUT_KEM + PSK_LATER + ONLY_SECRECY, "c0c0", 2),
    "hybrid-forward-secrecy": (WITHOUT_PSK + BOTH_LATER + ONLY_SECRECY, "c0c0", 1),
    # whoever has v_r can be the responder, so what the initiator sends to him is not secret; but
    # nobody else can be the initiator towards the responder itself, and the other way round
    "classic-kci-responder": (CLASSIC + leaks("Responder", "v_r"), "c1c0a0a1f0", 2),
    "classic-kci-initiator": (CLASSIC + leaks("Initiator", "v_i"), "c0c1a1a0f0", 2),
    "classic-e_i-known": (CLASSIC + leaks_ephemeral("e_i"), "c0c0a0a0f0", 2),
    "classic-e_r-known": (CLASSIC + leaks_ephemeral("e_r"), "c0c0a0a0f0", 2),
    "classic-both-ephemerals-known":
        (CLASSIC + leaks_ephemeral("e_i") + leaks_ephemeral("e_r"), "c0c0a0a0f0", 1),
    "psk-both-identities-known":
        (WITHOUT_KEM + leaks("Responder", "v_r") + leaks("Initiator", "v_i"), "c0c0a0a0f0", 1),
    "psk-quantum": (WITHOUT_KEM + QUANTUM + ONLY_SECRECY, "c0c0", 1),
    "hybrid-quantum": (WITHOUT_PSK + QUANTUM + ONLY_SECRECY, "c0c0", 1),
    # one of signature and se is enough against a known v_r
    "without-se-kci": (CLASSIC + SE + leaks("Responder", "v_r"), "c1c0a0a1f0", 1),
    "without-signature-kci": (CLASSIC + NO_SIGNATURE + leaks("Responder", "v_r"), "c1c0a0a1f0", 1),
    # the limit: with all that the responder knows, its sessions are open
    "v_r-and-e_r-known":
        (CLASSIC + leaks("Responder", "v_r") + leaks_ephemeral("e_r"), "c1c1a1a1f0", 1),
    # what must fall
    "classic-quantum": (CLASSIC + QUANTUM + ONLY_SECRECY, "c1c1", 1),
    "without-ee": (CLASSIC + EE + BOTH_LATER + ONLY_SECRECY, "c1c1", 1),
    "without-es-kci": (CLASSIC + ES + leaks("Initiator", "v_i"), "c1c1a1a1f0", 1),
    "without-ss-and-se-e_i-known": (CLASSIC + SS + SE + leaks_ephemeral("e_i"), "c1c1a1a1f0", 1),
    "without-se-and-signature-kci":
        (CLASSIC + SE + NO_SIGNATURE + leaks("Responder", "v_r"), "c1c1a1a1f0", 1),
    "without-fresh-e_r": (CLASSIC + STATIC_EPHEMERALS, "c0c0a1a0f1", 2),
    "without-psk-both-identities-known":
        (CLASSIC + leaks("Responder", "v_r") + leaks("Initiator", "v_i"), "c1c1a1a1f0", 1),
    "responder-not-known-before": (CLASSIC + UNGUARDED_R, "c1c0a0a1f0", 1),
    "initiator-not-known-before": (CLASSIC + UNGUARDED_I, "c0c1a1a0f0", 1),
    # the open handshake; one of request signature and se is enough, and of se and the transcript
    "open": ([], "c0c0a0a0f0", 1, "open"),
    "open-forward-secrecy": (BOTH_LATER + ONLY_SECRECY, "c0c0", 1, "open"),
    "open-request-unsigned": (REQUEST_UNSIGNED, "c0c0a0a0f0", 1, "open"),
    "open-key-share": (ANY_PEER, "e0", 1, "open"),
    "open-key-share-without-se": (ANY_PEER + OPEN_SE, "e0", 1, "open"),
    "open-key-share-unbound": (ANY_PEER + UNBOUND, "e0", 1, "open"),
    # it falls without the consent's signature; and an attacker shares a key in another's name
    # where neither keys nor transcript hold who asked
    "open-consent-unsigned": (CONSENT_UNSIGNED, "c1c0a0a1f0", 1, "open"),
    "open-request-unsigned-without-se":
        (REQUEST_UNSIGNED + OPEN_SE, "c0c1a1a0f0", 1, "open"),
    "open-key-share-without-se-unbound": (ANY_PEER + OPEN_SE + UNBOUND, "e1", 1, "open"),
    # early data; a second time only the ticket's state stops it, which the model does not have
    "early": ([], "c0a0f0", 1, "early"),
    "early-identities-later":
        (BOTH_LATER + [Edit(r"^\t(?:authentication|freshness)\?.*\n", "", 2)], "c0", 1, "early"),
    "early-without-the-ticket": (WITHOUT_TICKET, "c1a1f0", 1, "early"),
    "early-ticket-later":
        (EARLY_LATER + [Edit(r"^\t(?:authentication|freshness)\?.*\n", "", 2)], "c1", 1, "early"),
    "early-taken-twice": ([], "c0a1f1", 2, "early"),
    # RETRY; it falls where it is not bound to the REQUEST that it answers. A mac is worth the same
    # a second time: what stops it is the responder's memory of macs, which the model does not have
    "retry": ([], "c0a0a0f0", 1, "retry"),
    "retry-request-taken-twice": ([], "c0a0a1f0", 2, "retry"),
    "retry-network-key-known":
        ([Edit(r"^(\timac = .*\n)", r"\1\tleaks network_key\n", 1)], "c1a1a1f0", 1, "retry"),
    "retry-not-bound":
        ([Edit(r", cookie, imac\)", ", cookie, nil)", 1), Edit(r"sealed, imac\)", "sealed, nil)", 1)],
         "c0a1a1f1", 2, "retry"),
}


def run(name, folder):
    """Runs a case; gives the result code."""
    edits, _, sessions, *other = CASES[name]
    text = MODELS[other[0]] if other else MODEL
    for edit in edits:
        text = edit(text)
    path = pathlib.Path(folder, f"{name}.vp")
    path.write_text(text)
    command = ["verifpal", "verify", str(path), "--result-code", "--quiet",
               "--sessions", str(sessions)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"no result in {PATIENCE} s"
    if done.returncode != 0:
        return done.stdout.strip() + done.stderr.strip()
    return done.stdout.strip()


def check_names():
    """Model, specification and code must speak of the same strings and the same order."""
    problems = []
    code = "".join(path.read_text() for folder in ("handshake", "crypto")
                   for path in sorted((PROTO / "src" / folder).glob("*.rs")))
    specification = (PROTO / "PROTOCOL.md").read_text()
    names = dict(re.findall(r'^//   (\w+) +"([^"]*)"$', MODEL, flags=re.MULTILINE))
    if len(names) != 5:
        problems.append(f"the model names {len(names)} strings, not 5")
    for name, string in names.items():
        if f'"{string}"' not in code and f'"{string}\\0"' not in code:
            problems.append(f"{name}: {string!r} is not in the code")
        if string not in specification:
            problems.append(f"{name}: {string!r} is not in PROTOCOL.md")
        if not re.search(rf"[(, ]{name}[,)\n]", MODEL.split("attacker[")[1]):
            problems.append(f"{name} is not used in the model")
    # the other models: their strings, each used
    for other, text in MODELS.items():
        if other == "handshake":
            continue
        told = re.findall(r'^//   (\w+) +"([^"]*)"$', text, flags=re.MULTILINE)
        if len(told) < 2:
            problems.append(f"{other}.vp names {len(told)} strings")
        for name, string in told:
            if f'"{string}"' not in code and f'"{string}\\0"' not in code:
                problems.append(f"{other}.vp: {name}: {string!r} is not in the code")
            if string not in specification:
                problems.append(f"{other}.vp: {name}: {string!r} is not in PROTOCOL.md")
            if not re.search(rf"[(, ]{name}[,)\n]", text.split("attacker[")[1]):
                problems.append(f"{other}.vp: {name} is not used in the model")
    # the order of MixKey and psk in the specification, and in the model at both sides
    schedule = specification.split("## 4. Key schedule")[1].split("DATA KEYS")[0]
    schedule = schedule.split("h = ck =")[1]
    told = re.findall(r"MixKey\((DH\([^)]*\)|[^)]*)\)|HKDF\(ck, (psk)", schedule)
    told = [mixed or psk for mixed, psk in told]
    sides = {
        "i": {"DH_KEX(pk_r, e_i)": "DH(e_i, S_r)", "K_c": "K_c",
              "DH_KEX(pk_r, v_i)": "DH(s_i, S_r)", "DH_KEX(eph_r, e_i)": "DH(e_i, E_r)",
              "DH_KEX(eph_r, v_i)": "DH(s_i, E_r)", "ikem_secret": "KEM secret", "psk": "psk"},
        "r": {"DH_KEX(eph_i, v_r)": "DH(e_i, S_r)", "rK_c": "K_c",
              "DH_KEX(pk_i, v_r)": "DH(s_i, S_r)", "DH_KEX(eph_i, e_r)": "DH(e_i, E_r)",
              "DH_KEX(pk_i, e_r)": "DH(s_i, E_r)", "rkem_secret": "KEM secret", "psk": "psk"},
    }
    for side, meaning in sides.items():
        mixed = re.findall(rf"^\t{side}ck\d, \w+ = HKDF\(\w+, (DH_KEX\([^)]*\)|\w+), info\)",
                           MODEL, flags=re.MULTILINE)
        modelled = [meaning.get(each, f"? {each}") for each in mixed]
        if modelled != told:
            problems.append(f"side {side} mixes {modelled}, PROTOCOL.md {told}")
    # the code's calls, in the order of its text: the responder's file has them all in one place
    answer = (PROTO / "src" / "handshake" / "answer.rs").read_text()
    calls = re.findall(r"sym\.mix_(?:key|psk)\((.*)\);", answer)
    expected = ["key.as_bytes()", "agree(self.identity.dh(), remote.x25519())?.as_bytes()",
                "agree(&ephemeral, &self.ephemeral)?.as_bytes()",
                "agree(&ephemeral, remote.x25519())?.as_bytes()", "shared.as_bytes()", "psk"]
    if calls != expected:
        problems.append(f"answer.rs mixes {calls}, and the model was made after {expected}")
    return problems


def main():
    problems = check_names()
    for problem in problems:
        print(f"names: {problem}")
    print(f"names: {'differ' if problems else 'model, PROTOCOL.md and code agree'}", flush=True)
    if sys.argv[1:] == ["--names"]:
        return bool(problems)
    failed = bool(problems)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CASES:
            begun = time.monotonic()
            got, expected = run(name, folder), CASES[name][1]
            took = time.monotonic() - begun
            verdict = "as expected" if got == expected else f"EXPECTED {expected}"
            print(f"{name:36} {got:12} {took:6.1f} s  {verdict}", flush=True)
            failed |= got != expected
    return failed


if __name__ == "__main__":
    sys.exit(main())
