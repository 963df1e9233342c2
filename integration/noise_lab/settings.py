"""The noise settings that are compared, and the leaks that the laboratory must catch."""

from dataclasses import dataclass, field

FULL = {"size": "match", "filler": "full", "accept": {"ratio": "4:1"}}


@dataclass(frozen=True)
class Setting:
    name: str
    about: str
    noise: dict = field(default_factory=dict)
    # makes the laboratory's build of the node give itself away
    leak: str = ""
    # new daemons, keys and schedule for each visit, instead of one tunnel for a whole session
    fresh: bool = False
    # of the visits of other settings: no goal hangs on this one
    part: float = 1.0


def full(ratio, **more):
    return {**FULL, "ratio": ratio, **more}


# 333 datagrams a second: pages of the laboratory fit into it
CONSTANT = full("1:8", engine="constant", budget="4mbit")

SETTINGS = {each.name: each for each in (
    Setting("off", "no noise, no filler"),
    Setting("filler", "every datagram filled to one size, no noise packets", full("off")),
    Setting("1:4", "ledger, a noise packet for four real ones", full("1:4"), part=0.4),
    Setting("1:1", "ledger, a noise packet for each real one", full("1:1")),
    Setting("4:1", "ledger, four noise packets for each real one", full("4:1")),
    Setting("shaped", "surges that decay, real packets delayed to fit", full("1:8", engine="shaped", budget="2mbit")),
    Setting("constant", "4 Mbit/s each way, always", CONSTANT),
    Setting("leaky-late", "constant, but slots with real packets leave 200 µs late", CONSTANT, leak="late", part=0.4),
    Setting("leaky-after", "4:1, but sent at once with the real packets", full("4:1"), leak="after", part=0.4),
    Setting("1:1-fresh", "1:1, a new connection for each visit", full("1:1"), fresh=True, part=0.5),
    Setting("4:1-fresh", "4:1, a new connection for each visit", full("4:1"), fresh=True, part=0.5),
)}

# what is collected unless --settings says otherwise
USUAL = ["off", "filler", "1:4", "1:1", "4:1", "shaped", "constant", "leaky-late", "leaky-after"]
SHORT = ["off", "filler", "constant", "leaky-late"]
