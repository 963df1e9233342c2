# shellcheck shell=bash
# The second half of `scripts/demo --full`: what an operator uses. Sourced, with alice and bob up.

alice() {
    show "stadium $*"
    in_ns "$ALICE" "$STADIUM" "$@" 2>&1 | indent
}

step "Where would a packet go, and why not?"
alice explain alice.yaml 10.7.0.2
show "stadium explain alice.yaml 10.9.9.9"
in_ns "$ALICE" "$STADIUM" explain alice.yaml 10.9.9.9 2>&1 | indent || true

step "The doctor: nothing wrong, then a wrong preshared key"
alice doctor alice.yaml || true
(umask 077 && "$STADIUM" genpsk >"$DIR/other.psk")
sed -i 's/pair.psk/other.psk/' "$DIR/bob.yaml"
for turn in down "up --detach --log-file bob.log"; do
    # shellcheck disable=SC2086 # the words of a command
    in_ns "$BOB" "$STADIUM" ${turn%% *} bob.yaml ${turn#"${turn%% *}"} >/dev/null 2>&1
done
show "stadium doctor alice.yaml      # bob has another preshared key now"
in_ns "$ALICE" "$STADIUM" doctor alice.yaml 2>&1 | indent || true

step "A change of the peer file: first what it would do, then for real"
sed -i 's/other.psk/pair.psk/' "$DIR/bob.yaml"
show "stadium reload bob.yaml --diff"
in_ns "$BOB" "$STADIUM" reload bob.yaml --diff | indent
show "stadium reload bob.yaml"
in_ns "$BOB" "$STADIUM" reload bob.yaml | indent
alice wait alice.yaml --timeout 20s
alice ping alice.yaml bob -c 2

step "A new peer in one step"
alice peer invite alice.yaml carol --endpoint 192.0.2.1:51871 --out carol.yaml
show "stadium check carol.yaml"
(cd "$DIR" && as_root "$STADIUM" check carol.yaml 2>&1 | indent)
alice peer list alice.yaml
alice peer remove alice.yaml carol

step "For machines: JSON, probes, events"
show "stadium status alice.yaml --json | head -c 240"
in_ns "$ALICE" "$STADIUM" status alice.yaml --json >"$DIR/status.json"
head -c 240 "$DIR/status.json" | indent
echo
alice status alice.yaml --check ready
echo "  (no output, exit 0: the tunnel is ready)"

step "A change that undoes itself unless it is confirmed"
in_ns "$ALICE" "$STADIUM" down alice.yaml >/dev/null 2>&1
alice up alice.yaml --detach --log-file alice.log --confirm 2s
sleep 3
show "stadium status alice.yaml      # three seconds later"
in_ns "$ALICE" "$STADIUM" status alice.yaml 2>&1 | indent
alice up alice.yaml --detach --log-file alice.log --confirm 30s
alice confirm alice.yaml
alice wait alice.yaml --timeout 20s
