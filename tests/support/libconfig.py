"""Writes Python values in libconfig's syntax, as version 1.5 reads it, and reads policies independently of the program.

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


# --- reading ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"""\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>[-+]?(?:0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?)L{0,2})
    |(?P<name>[A-Za-z*][-A-Za-z0-9_*]*)|(?P<sign>[{}()\[\]=:;,])""", re.S | re.X)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


def _tokens(text):
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match, f"libconfig: what is {text[at:at + 20]!r}?"
        at = match.end()
        if match.lastgroup:
            yield match.lastgroup, match.group()
    yield "end", ""


class _Reader:
    def __init__(self, text):
        self.tokens = list(_tokens(text))
        self.at = 0

    def take(self, *signs):
        """The next token; only if it is one of these signs, when some are given."""
        kind, text = self.tokens[self.at]
        if signs and (kind != "sign" or text not in signs):
            return None
        self.at += 1
        return text if signs else (kind, text)

    def group(self, end):
        out = {}
        while not self.take(*end) if end else self.tokens[self.at][0] != "end":
            kind, name = self.take()
            assert kind == "name" and self.take("=", ":"), f"libconfig: a setting, not {name!r}"
            out[name] = self.value()
            self.take(";", ",")
        return out

    def items(self, end):
        out = []
        while not self.take(end):
            out.append(self.value())
            self.take(",")
        return out

    def value(self):
        kind, text = self.take()
        if kind == "string":
            while self.tokens[self.at][0] == "string":  # several side by side are one
                text = text[:-1] + self.take()[1][1:]
            return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 3 else
                          _ESCAPES.get(m[1], m[1]), text[1:-1], flags=re.S)
        if kind == "number":
            text = text.rstrip("L")
            return int(text, 0) if re.fullmatch(r"[-+]?(0x[0-9a-fA-F]+|\d+)", text) else float(text)
        if kind == "name":
            return {"true": True, "false": False}[text.lower()]
        if text == "{":
            return self.group("}")
        return self.items({"(": ")", "[": "]"}[text])


def loads(text):
    """A settings file or policy as a dict; lists and arrays as lists."""
    return _Reader(text).group("")
