"""Writes peer files: a nested dict becomes block YAML with JSON scalars."""

import json


def dump(value):
    return "\n".join(block(value, 0)) + "\n"


def block(value, depth):
    pad = "  " * depth
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{pad}{key}:")
            lines += block(item, depth + 1)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{pad}{key}:")
            for entry in item:
                first, *rest = block(entry, depth + 2)
                lines.append(f"{pad}  - {first.strip()}")
                lines += rest
        else:
            lines.append(f"{pad}{key}: {scalar(item)}")
    return lines


def scalar(item):
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str) and item in ("auto", "off", "on"):
        return item
    return json.dumps(item)
