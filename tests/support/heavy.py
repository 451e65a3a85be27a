"""Bodies and messages of a given size that become as large in memory as they can."""

from collections.abc import Callable, Iterator, Mapping

from healthrisk.serving import parsing


class Forms(Mapping[str, bytes]):
    """Bodies or messages of a size by name, each made where it is wanted: collecting tests takes their names alone."""

    def __init__(self, makers: dict[str, Callable[[int], bytes]], size: int) -> None:
        self._makers, self._size = makers, size

    def __getitem__(self, name: str) -> bytes:
        return self._makers[name](self._size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def repeated(size: int, start: bytes, part: bytes, end: bytes = b"1]") -> bytes:
    return start + part * ((size - len(start) - len(end)) // len(part)) + end


# Values, texts of every width, lists and objects side by side, nested, and broken off.
_JSON: dict[str, Callable[[int], bytes]] = {
    "small numbers": lambda size: repeated(size, b"[", b"1,"),
    "numbers": lambda size: repeated(size, b"[", b"999,"),
    "fractions": lambda size: repeated(size, b"[", b"1.5,"),
    "empty texts": lambda size: repeated(size, b"[", b'"",'),
    "texts of one letter": lambda size: repeated(size, b"[", b'"a",'),
    "texts of two letters": lambda size: repeated(size, b"[", b'"ab",'),
    "accents": lambda size: repeated(size, b"[", '"é",'.encode()),
    "emojis": lambda size: repeated(size, b"[", '"\N{GRINNING FACE}",'.encode()),
    "one wide text": lambda size: b'["' + b"a" * (size - 20) + '\N{GRINNING FACE}"]'.encode(),
    "one escaped text": lambda size: b'["' + b"a" * (size - 20) + b'\\ud83d\\ude00"]',
    "empty lists": lambda size: repeated(size, b"[", b"[],"),
    "empty objects": lambda size: repeated(size, b"[", b"{},"),
    "objects": lambda size: repeated(size, b"[", b'{"":0},'),
    "lists": lambda size: repeated(size, b"[", b"[1],"),
    "deep lists": lambda size: repeated(size, b"[", b"[" * 900 + b"]" * 900 + b","),
    "deep objects": lambda size: repeated(size, b"[", b'{"":' * 300 + b"0" + b"}" * 300 + b","),
    "distinct keys": lambda size: b"{" + b",".join(b'"%x":0' % key for key in range(size // 10)) + b"}",
    "distinct keys of many objects": lambda size: (
        b"["
        + b",".join(
            b"{" + b",".join(b'"%x":0' % key for key in range(first, first + 1000)) + b"}"
            for first in range(0, size // 10, 1000)
        )
        + b"]"
    ),
    "words": lambda size: repeated(size, b"[", b"true,"),
    "NaN and empty texts": lambda size: repeated(size, b"[NaN", b',""', b"]"),
    "NaN": lambda size: repeated(size, b"[", b"NaN,"),
    "NaN within texts": lambda size: repeated(size, b"[NaN,", b'"NaN",'),
    "the same key": lambda size: repeated(size, b'{"":0', b',"":0', b"}"),
    "colons in texts": lambda size: repeated(size, b"[", b'":",'),
    "broken off": lambda size: b"[" + b"1," * (size // 2 - 1),
    "broken off, deep": lambda size: repeated(size, b"[", b"[" * 900 + b"]" * 900 + b",", b""),
    "only brackets": lambda size: b"[" * size,
    "only quotes": lambda size: b'"' * size,
    "only backslashes": lambda size: b'"' + b"\\" * (size - 1),
}


def bodies(size: int) -> Forms:
    """Return JSON texts of a size."""
    return Forms(_JSON, size)


def weightiest(size: int, max_weight: int) -> dict[str, bytes]:
    """Return JSON texts of a size, and as long as is just let through to be parsed."""
    forms, small = dict(bodies(size)), size // 16
    for name, make in _JSON.items():
        allowed = max_weight * small // parsing.weight(make(small)) - 64
        if allowed < size:
            forms[f"{name}, just allowed"] = make(allowed)
    return forms


def tensors(size: int) -> dict[str, bytes]:
    """Return the content of binary tensors: texts behind their lengths, and numbers."""
    return {
        "empty texts": b"\x00\x00\x00\x00" * (size // 4),
        "texts of two letters": b"\x02\x00\x00\x00ab" * (size // 6),
        "one text": (size - 4).to_bytes(4, "little") + b"a" * (size - 4),
        "numbers": bytes(size // 8 * 8),
    }


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(*contents: bytes) -> bytes:
    return part(5, b"".join(contents))


# Protobuf's form of requests: parts without number, and tensors of numbers and texts without length.
_MESSAGES: dict[str, Callable[[int], bytes]] = {
    "inputs": lambda size: b"\x2a\x00" * (size // 2),
    "inputs with contents": lambda size: b"\x2a\x02\x2a\x00" * (size // 4),
    "outputs": lambda size: b"\x32\x00" * (size // 2),
    "raw contents": lambda size: b"\x3a\x00" * (size // 2),
    "parameters": lambda size: b"".join(part(4, part(1, b"%x" % key)) for key in range(size // 9)),
    "unknown fields": lambda size: b"\x78\x00" * (size // 2),
    "groups": lambda size: b"\x7b\x7c" * (size // 2),
    "shape": lambda size: tensor(part(3, b"\x00" * (size - 64))),
    "shape, unpacked": lambda size: tensor(b"\x18\x00" * ((size - 64) // 2)),
    "INT64": lambda size: tensor(part(5, part(3, b"\x00" * (size - 64)))),
    "INT64, unpacked": lambda size: tensor(part(5, b"\x18\x00" * ((size - 64) // 2))),
    "INT32": lambda size: tensor(part(5, part(2, b"\x00" * (size - 64)))),
    "BOOL": lambda size: tensor(part(5, part(1, b"\x00" * (size - 64)))),
    "FP64": lambda size: tensor(part(5, part(7, b"\x00" * ((size - 64) // 8 * 8)))),
    "BYTES": lambda size: tensor(part(5, b"\x42\x00" * ((size - 64) // 2))),
    "contents again and again": lambda size: tensor(b"\x2a\x00" * ((size - 64) // 2)),
    "parameters of a tensor": lambda size: tensor(*(part(4, part(1, b"%x" % key)) for key in range(size // 9))),
    "one long name": lambda size: tensor(part(1, b"a" * (size - 64))),
    "one raw tensor": lambda size: part(7, b"\x00" * (size - 64)),
}


def messages(size: int) -> Forms:
    """Return protobuf's form of requests, of about a size."""
    return Forms(_MESSAGES, size)
