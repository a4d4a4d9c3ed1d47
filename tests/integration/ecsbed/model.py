"""Validates request bodies against botocore's model of an API (ECS unless named), strictly: unknown members, wrong types,
missing members and unknown enumeration values are all problems, and where asked for lengths and patterns too."""

import functools
import re

import botocore.session

# Members that the agent sends and that this botocore does not know yet.
NEWER_MEMBERS = {("RegisterContainerInstance", "clientToken"), ("DiscoverPollEndpoint", "zoneId")}


@functools.lru_cache(maxsize=None)
def _service(name):
    return botocore.session.Session().get_service_model(name)


def load(service="ecs"):
    """So that the first call does not wait for it."""
    _service(service)


def problems(operation, body, service="ecs", limits=False):
    """What is wrong with the body of a call: a list of texts. limits: the model's lengths, ranges and patterns hold
    as well, as services enforce them and SDKs do not."""
    if operation not in _service(service).operation_names:
        return [f"unknown operation {operation}"]
    if not isinstance(body, dict):
        return [f"the body is no JSON object: {body!r}"]
    known = {name: value for name, value in body.items() if (operation, name) not in NEWER_MEMBERS}
    found = [f"{name} is not a string" for name in body.keys() - known.keys()
             if not isinstance(body[name], str)]
    _check(_service(service).operation_model(operation).input_shape, known, operation, found, limits)
    return found


def _check(shape, value, where, found, limits):
    kind = shape.type_name
    if limits:
        _check_limits(shape.metadata, value, where, found)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "structure":
        if not isinstance(value, dict):
            found.append(f"{where} is no object: {value!r}")
            return
        found.extend(f"{where}.{name} is missing" for name in shape.required_members if name not in value)
        for name, member in value.items():
            if name in shape.members:
                _check(shape.members[name], member, f"{where}.{name}", found, limits)
            else:
                found.append(f"{where}.{name} is unknown")
    elif kind == "list":
        if not isinstance(value, list):
            found.append(f"{where} is no list: {value!r}")
            return
        for index, member in enumerate(value):
            _check(shape.member, member, f"{where}[{index}]", found, limits)
    elif kind == "map":
        if not isinstance(value, dict):
            found.append(f"{where} is no map: {value!r}")
            return
        for name, member in value.items():
            _check(shape.value, member, f"{where}.{name}", found, limits)
    elif kind == "string":
        if not isinstance(value, str):
            found.append(f"{where} is no string: {value!r}")
        elif shape.enum and value not in shape.enum:
            found.append(f"{where} is {value!r}, not one of {shape.enum}")
    elif kind in ("integer", "long"):
        if not number or value != int(value):
            found.append(f"{where} is no integer: {value!r}")
    elif kind in ("double", "float"):
        if not number:
            found.append(f"{where} is no number: {value!r}")
    elif kind == "timestamp":
        if not number or abs(value * 1000 - round(value * 1000)) > 0.01:
            found.append(f"{where} is no time in seconds with at most milliseconds: {value!r}")
    elif kind == "boolean":
        if not isinstance(value, bool):
            found.append(f"{where} is no boolean: {value!r}")
    else:
        found.append(f"{where}: type {kind} is not handled by the test bed")


def _check_limits(limits, value, where, found):
    """min, max and pattern of a shape: of a number itself, of anything else its length."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number and not isinstance(value, (str, list, dict)):
        return
    size = value if number else len(value)
    if size < limits.get("min", size):
        found.append(f"{where} is less than {limits['min']}" + ("" if number else " long"))
    if size > limits.get("max", size):
        found.append(f"{where} is more than {limits['max']}" + ("" if number else " long"))
    if "pattern" in limits and isinstance(value, str) and not re.fullmatch(limits["pattern"], value):
        found.append(f"{where} is {value!r}, not {limits['pattern']}")
