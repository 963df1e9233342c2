"""A small JSON Schema validator: the keywords that `status.schema.json` uses, and no others."""

import json
import os
import re

from .verdict import Failure

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATH = os.path.join(ROOT, "crates", "cli", "schema", "status.schema.json")
TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool,
    "integer": int, "number": (int, float), "null": type(None),
}
KNOWN = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required",
    "additionalProperties", "items", "minItems", "enum", "const", "pattern", "minimum", "maximum", "anyOf",
}


class Schema:
    def __init__(self, root):
        self.root = root

    def errors(self, value, schema=None, at="$"):
        """Every place where `value` breaks the schema, as `path: what is wrong`."""
        schema = self.root if schema is None else schema
        if schema is True:
            return
        unknown = set(schema) - KNOWN
        if unknown:
            raise ValueError(f"this validator does not know {sorted(unknown)}")
        if "$ref" in schema:
            yield from self.errors(value, self.resolve(schema["$ref"]), at)
        if "anyOf" in schema and not any(not list(self.errors(value, s, at)) for s in schema["anyOf"]):
            yield f"{at}: fits none of the {len(schema['anyOf'])} allowed forms: {json.dumps(value)[:120]}"
        if "const" in schema and value != schema["const"]:
            yield f"{at}: must be {schema['const']!r}, is {value!r}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at}: {value!r} is not one of {schema['enum']}"
        if "type" in schema and not is_type(value, schema["type"]):
            yield f"{at}: must be {schema['type']}, is {json.dumps(value)[:80]}"
            return
        yield from self.scalar_errors(value, schema, at)
        if isinstance(value, dict):
            yield from self.object_errors(value, schema, at)
        if isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                yield f"{at}: needs at least {schema['minItems']} entries"
            for i, item in enumerate(value):
                yield from self.errors(item, schema.get("items", True), f"{at}[{i}]")

    def scalar_errors(self, value, schema, at):
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"
        if is_type(value, "number"):
            if "minimum" in schema and value < schema["minimum"]:
                yield f"{at}: {value} is below {schema['minimum']}"
            if "maximum" in schema and value > schema["maximum"]:
                yield f"{at}: {value} is above {schema['maximum']}"

    def object_errors(self, value, schema, at):
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}: {name!r} is missing"
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in known:
                yield from self.errors(item, known[name], f"{at}.{name}")
            elif others is False:
                yield f"{at}: {name!r} is not allowed"
            else:
                yield from self.errors(item, others, f"{at}.{name}")

    def resolve(self, reference):
        target = self.root
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        return target


def is_type(value, names):
    for name in names if isinstance(names, list) else [names]:
        if isinstance(value, bool) and name in ("integer", "number"):
            continue
        if isinstance(value, TYPES[name]):
            return True
    return False


def load(path=PATH):
    with open(path) as text:
        return Schema(json.load(text))


def check_status(document, _cache={}):  # noqa: B006 - the cache is the point
    if "schema" not in _cache:
        _cache["schema"] = load()
    errors = list(_cache["schema"].errors(document))
    if errors:
        raise Failure("status breaks its schema: " + "; ".join(errors[:6]))
