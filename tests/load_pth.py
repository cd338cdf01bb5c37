"""Prints what torch.load finds in a .pth; tests/test_pth_write.c compares.

Exits with 3 where there is no torch.
"""
import inspect
import struct
import sys
import zlib

try:
    import torch
except ImportError:
    sys.exit(3)


def crc(tensor):
    code = {torch.float32: "f", torch.int64: "q"}[tensor.dtype]
    values = tensor.flatten().tolist()
    return zlib.crc32(struct.pack("<%d%s" % (len(values), code), *values))


def text_of(checkpoint):
    lines = [" ".join(checkpoint)]
    for key, value in checkpoint["meta"].items():
        lines.append("%s %r" % (key, value))
    state = checkpoint["state_dict"]
    lines.append(type(state).__name__)
    for name, t in state.items():
        lines.append("%s %s %s %s %08x" % (name, t.dtype, list(t.shape),
                                           list(t.stride()), crc(t)))
    return "\n".join(lines)


sys.stdout.reconfigure(encoding="utf-8")
text = text_of(torch.load(sys.argv[1]))
print(text)
if "weights_only" in inspect.signature(torch.load).parameters:
    for only in False, True:
        assert text_of(torch.load(sys.argv[1], weights_only=only)) == text
