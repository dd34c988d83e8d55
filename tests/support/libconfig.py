"""Writes Python values in libconfig's syntax, as version 1.5 reads it.

    dict         { name = value; }      group
    list, tuple  ( value, value )       list; an array [ ] when all items are scalars of one type
"""

import re

_NAME = re.compile(r"[A-Za-z*][-A-Za-z0-9_*]*\Z")
_INT32 = range(-(1 << 31), 1 << 31)


def _string(text):
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif ord(char) < 0x20:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _value(value, indent):
    if isinstance(value, dict):
        return "{\n" + _settings(value, indent + 2) + " " * indent + "}"
    if isinstance(value, (list, tuple)):
        # 1.5 refuses a comma after the last item.
        items = [_value(item, indent + 2) for item in value]
        scalars = value and not any(isinstance(item, (dict, list, tuple)) for item in value)
        if scalars and len({type(item) for item in value}) == 1:
            return "[" + ", ".join(items) + "]"
        return "(" + ", ".join(items) + ")"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value in _INT32 else f"{value}L"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value}.0"
    return _string(str(value))


def _settings(group, indent):
    out = []
    for name, value in group.items():
        if not _NAME.match(name):
            raise ValueError(f"libconfig has no such name: {name!r}")
        if value is not None:
            out.append(f"{' ' * indent}{name} = {_value(value, indent)};\n")
    return "".join(out)


def dumps(group):
    """None values are left out, so that a test can take a default setting away."""
    return _settings(group, 0)
