"""Walks an answer's raw JSON against the shape that botocore's model has for it.

boto3's parser drops members that it does not know and converts what it can; this does neither.
"""


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
    if shape.enum and value not in shape.enum:
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
    if not faults and not 1_500_000_000 < value < 10_000_000_000:
        return [f"{path}: {value!r} is no time in seconds"]
    return faults


def _scalar(value, shape, path):
    wanted = {"boolean": bool, "blob": str}[shape.type_name]
    return [] if isinstance(value, wanted) else [f"{path}: {value!r} is no {shape.type_name}"]


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
