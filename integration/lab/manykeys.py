"""Many valid public keys at once, where running `stadium pubkey` for each would take minutes.

The multiples of Ed25519's base point (RFC 8032, section 5.1) are the public keys there are. Nobody
knows the secrets that belong to these, and nobody has to: the peers that have them are never there.
"""

import base64

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202


def add(a, b):
    """The sum of two points in extended coordinates (RFC 8032, section 5.1.4)."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    low, high = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = high - low, d - c, d + c, high + low
    return e * f % P, g * h % P, f * g % P, e * h % P


def public_keys(count):
    """The first `count` of a fixed sequence of keys, in base64."""
    base = point = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)
    keys = []
    for _ in range(count):
        # the first few multiples are as good as any, but the base point itself looks odd in a file
        point = add(point, base)
        inverse = pow(point[2], -1, P)
        x, y = point[0] * inverse % P, point[1] * inverse % P
        keys.append(base64.b64encode((y | (x & 1) << 255).to_bytes(32, "little")).decode())
    return keys
