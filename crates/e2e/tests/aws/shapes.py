"""Walks an answer's raw JSON against the shape that botocore's model has for it.

boto3's parser drops members that it does not know and converts what it can; this does neither.
"""


import datetime


def local_name(element):
    """An XML element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def from_xml(element, shape):
    """What a JSON protocol would say for this XML. What does not fit the shape stays as text, for `faults_of`."""
    if shape.type_name == "structure":
        members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        found = {}
        for child in element:
            name, member = members.get(local_name(child), (local_name(child), None))
            found[name] = child.text if member is None else from_xml(child, member)
        return found
    if shape.type_name == "list":
        wanted = shape.member.serialization.get("name", "member")
        names = {local_name(child) for child in element}
        return [from_xml(child, shape.member) for child in element] if names <= {wanted} else sorted(names)
    if shape.type_name == "map":
        entries = [{local_name(part): part for part in entry} for entry in element]
        return {entry["key"].text: from_xml(entry["value"], shape.value) for entry in entries}
    return _scalar_from(element.text or "", shape.type_name)


def _scalar_from(text, kind):
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "timestamp":
            return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return text
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text


def faults_of(value, shape, path=""):
    """What of `value` does not fit `shape`, a line each."""
    check = _CHECKS.get(shape.type_name, _scalar)
    return check(value, shape, path or shape.name)


def _structure(value, shape, path):
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no structure {shape.name}"]
    faults = []
    for name, member in value.items():
        known = shape.members.get(name)
        if known is None:
            faults.append(f"{path}.{name}: {shape.name} has no such member")
        elif member is None:
            faults.append(f"{path}.{name}: null; AWS leaves a member out")
        else:
            faults += faults_of(member, known, f"{path}.{name}")
    faults += [f"{path}.{name} is required" for name in shape.required_members if name not in value]
    return faults


def _list(value, shape, path):
    if not isinstance(value, list):
        return [f"{path}: {value!r} is no list"]
    return [fault for place, item in enumerate(value) for fault in faults_of(item, shape.member, f"{path}[{place}]")]


def _map(value, shape, path):
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no map"]
    return [fault for key, item in value.items() for fault in faults_of(item, shape.value, f"{path}.{key}")]


def _string(value, shape, path):
    if not isinstance(value, str):
        return [f"{path}: {value!r} is no string"]
    if shape.enum and value not in shape.enum and value not in _BEYOND_THE_MODEL.get(shape.name, ()):
        return [f"{path}: {value!r} is none of {', '.join(shape.enum)}"]
    return []


def _integer(value, shape, path):
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{path}: {value!r} is no {shape.type_name}"]
    return []


def _number(value, shape, path):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return [f"{path}: {value!r} is no {shape.type_name}"]
    return []


def _timestamp(value, shape, path):
    faults = _number(value, shape, path)
    # Seconds: milliseconds would lie in a far future.
    if not faults and not 1_400_000_000 < value < 10_000_000_000:
        return [f"{path}: {value!r} is no time in seconds"]
    return faults


def _scalar(value, shape, path):
    wanted = {"boolean": bool, "blob": str}[shape.type_name]
    return [] if isinstance(value, wanted) else [f"{path}: {value!r} is no {shape.type_name}"]


# What AWS answers, and its model does not say.
_BEYOND_THE_MODEL = {"PermissionsBoundaryAttachmentType": {"Policy"}}

_CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "float": _number,
    "double": _number,
    "timestamp": _timestamp,
}
