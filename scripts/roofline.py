#!/usr/bin/env python3
"""The least time that a GPU could take for a step, by operations and bytes.

usage: roofline.py [--size HxW] [--batch N] [--tflops X] [--tbps X] DEPTH[-dcn] PRECISION

Prints two numbers, milliseconds: of the forward pass of a GFL detector on a
ResNet DEPTH (-dcn: DCNv1 in layer2 to layer4), and of a training step with stem
and layer1 frozen. Each kernel takes the longer of its operations (two a product
and sum) over the peak rate and its bytes (what it must read and write, once)
over the bandwidth. Batch norm, ReLU and the residual cost no pass of their own;
GroupNorm costs one pass more forward and two backward; losses, SGD and
assignment count for nothing.

The peak rates are an NVIDIA H200's: bf16 790 TFLOP/s (an 8192^3 matrix product
of random numbers) and 4.3 TB/s (a copy) as measured on one; tf32 half of bf16;
fp32 67 by the data sheet. --tflops and --tbps are for others.
"""
import argparse

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
TFLOPS = {'bf16': 790, 'tf32': 395, 'fp32': 67}
BYTES = {'bf16': 2, 'tf32': 4, 'fp32': 4}


class Count:
    """Adds up the milliseconds of kernels."""

    def __init__(self, batch, precision, tflops, tbps):
        self.batch, self.size = batch, BYTES[precision]
        self.tflops, self.tbps = tflops or TFLOPS[precision], tbps
        self.forward = self.train = 0

    def kernel(self, operations, numbers, trains_alone=False):
        ms = 1e3 * max(operations / (self.tflops * 1e12), numbers * self.size / (self.tbps * 1e12))
        self.train += ms
        self.forward += 0 if trains_alone else ms

    def conv(self, cin, cout, h, w, kernel, stride=1, *, norm='bn', residual=False, frozen=False,
             first=False, masked=None, deform=False):
        """Returns the size of the output. `first` needs no gradient of its input; `masked`
        says whether that gradient passes a ReLU (default: where there is a batch norm)."""
        oh, ow = -(-h // stride), -(-w // stride)
        x, y = self.batch * cin * h * w, self.batch * cout * oh * ow
        weights, operations = cin * cout * kernel ** 2, 2 * self.batch * cout * oh * ow * cin * kernel ** 2
        x_read = x / 4 if kernel == 1 and stride == 2 else x
        if deform:  # sampling: nine taps of four values; the offsets are a convolution too
            self.kernel(8 * 9 * y / cout * cin, 2 * x)
        self.kernel(operations, x_read + weights + y * (2 if residual else 1))
        if norm == 'gn':
            self.kernel(0, 2 * y)
        if not frozen:
            if norm == 'gn':
                self.kernel(0, 5 * y, True)
            if not first:
                masked = norm == 'bn' if masked is None else masked
                self.kernel(operations, y + weights + x_read * (2 if masked else 1), True)
            self.kernel(operations, x_read + y + weights, True)
        if deform:
            self.conv(cin, 18, h, w, kernel, stride, norm=None, frozen=frozen, first=first)
        return oh, ow


def backbone(c, depth, dcn, h, w):
    """Returns (channels, h, w) of C3 to C5."""
    deep, out = depth >= 50, []
    h, w = c.conv(3, 64, h, w, 7, 2, frozen=True)
    h, w, cin = -(-h // 2), -(-w // 2), 64
    for i, n in enumerate(BLOCKS[depth]):
        planes = 64 << i
        cout = planes * (4 if deep else 1)
        for j in range(n):
            own = {'frozen': i == 0, 'first': i == 1 and j == 0}
            stride = 2 if i and not j else 1
            rest = {'frozen': i == 0}
            if deep:
                c.conv(cin, planes, h, w, 1, **own)
                oh, ow = c.conv(planes, planes, h, w, 3, stride, deform=dcn and i > 0, **rest)
                c.conv(planes, cout, oh, ow, 1, residual=True, **rest)
            else:
                oh, ow = c.conv(cin, planes, h, w, 3, stride, **own)
                c.conv(planes, planes, oh, ow, 3, residual=True, **rest)
            if stride > 1 or cin != cout:
                c.conv(cin, cout, h, w, 1, stride, **own)
            cin, h, w = cout, oh, ow
        out.append((cin, h, w))
    return out[1:]


def detector(c, depth, dcn, h, w):
    levels = []
    for channels, h, w in backbone(c, depth, dcn, h, w):
        c.conv(channels, 256, h, w, 1, norm=None, masked=True)
        levels.append(c.conv(256, 256, h, w, 3, norm=None))
    for _ in range(2):
        levels.append(c.conv(256, 256, *levels[-1], 3, 2, norm=None))
    for h, w in levels:
        for channels in (80, 68):
            for _ in range(4):
                c.conv(256, 256, h, w, 3, norm='gn')
            c.conv(256, channels, h, w, 3, norm=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('depth')
    parser.add_argument('precision', choices=sorted(TFLOPS))
    parser.add_argument('--size', default='800x1344')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--tflops', type=float)
    parser.add_argument('--tbps', type=float, default=4.3)
    options = parser.parse_args()
    depth, _, dcn = options.depth.partition('-')
    if int(depth) not in BLOCKS or dcn not in ('', 'dcn') or (dcn and int(depth) < 50):
        parser.error(f'{options.depth}: expected 18, 34, 50, 101, 50-dcn or 101-dcn')
    count = Count(options.batch, options.precision, options.tflops, options.tbps)
    detector(count, int(depth), bool(dcn), *map(int, options.size.split('x')))
    print(f'{count.forward:.2f} {count.train:.2f}')


if __name__ == '__main__':
    main()
