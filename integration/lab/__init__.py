"""The test lab: network namespaces, Stadium nodes, traffic, captures, verdicts.

Everything here is Python's standard library plus `ip`, `ping` and `nft`.
A scenario gets a `Lab` (lab.world) and builds what it needs through it; whatever
was built is removed when the scenario ends, however it ends.
"""
