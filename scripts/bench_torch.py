#!/usr/bin/env python3
"""Times the same training step, and an R-101's inference, in PyTorch.

usage: bench_torch.py --from FILE [--rounds N] [--steps N] [--threads N]
           [--device cpu|cuda] [--precision fp32|tf32|bf16] [--compile]
           [--ways plain,resident,infer]

FILE is what `bench-step --dump FILE` wrote: the networks' weights, the images
and the rows that losses read, so this does the same work on the same numbers,
and its first losses, printed too, are bench-step's but for rounding.

GFL with a ResNet; stem and stage 1 frozen, BatchNorm on stored statistics; QFL,
GIoU, DFL, and LD, VLR LD and KD of an R-101 that runs in the loop; SGD. Memory
is laid out channels_last, bf16 is autocast, --compile is torch.compile of both
networks. Assignment is done beforehand. Prints medians over rounds, the ways
taking turns; on a GPU by its own clock (CUDA events).
"""
import argparse
import contextlib
import json
import statistics
import sys
import time

import numpy
import torch
from torch import nn
import torch.nn.functional as F

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CLASSES, BINS = 80, 17
STRIDES = (8, 16, 32, 64, 128)


# ---- the network; its parameters have mmdetection's names ----

def conv(cin, cout, kernel, stride=1, bias=False):
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=bias)


def named(**modules):
    return nn.ModuleDict(modules)


class Block(nn.Module):
    def __init__(self, cin, planes, stride, deep):
        super().__init__()
        cout = planes * (4 if deep else 1)
        shapes = [(cin, planes, 1, 1), (planes, planes, 3, stride), (planes, cout, 1, 1)] if deep else \
            [(cin, planes, 3, stride), (planes, planes, 3, 1)]
        self.n = len(shapes)
        for i, shape in enumerate(shapes, 1):
            setattr(self, f'conv{i}', conv(*shape))
            setattr(self, f'bn{i}', nn.BatchNorm2d(shape[1]))
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = x
        for i in range(1, self.n + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            y = F.relu(y) if i < self.n else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth):
        super().__init__()
        deep, cin, self.channels = depth >= 50, 64, []
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        for i, n in enumerate(BLOCKS[depth]):
            blocks = []
            for j in range(n):
                blocks.append(Block(cin, 64 << i, 2 if i and not j else 1, deep))
                cin = (64 << i) * (4 if deep else 1)
            setattr(self, f'layer{i + 1}', nn.Sequential(*blocks))
            self.channels.append(cin)

    def forward(self, x):
        x, maps = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1), []
        for i in range(1, 5):
            x = getattr(self, f'layer{i}')(x)
            maps.append(x)
        return maps[1:]


class Detector(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.backbone = ResNet(depth)
        self.neck = named(
            lateral_convs=nn.ModuleList(named(conv=conv(c, 256, 1, bias=True)) for c in self.backbone.channels[1:]),
            fpn_convs=nn.ModuleList(named(conv=conv(256, 256, 3, 2 if i > 2 else 1, bias=True)) for i in range(5)))

        def tower():
            return nn.ModuleList(named(conv=conv(256, 256, 3), gn=nn.GroupNorm(32, 256)) for _ in range(4))
        self.bbox_head = named(
            cls_convs=tower(), reg_convs=tower(), gfl_cls=conv(256, CLASSES, 3, bias=True),
            gfl_reg=conv(256, 4 * BINS, 3, bias=True),
            scales=nn.ModuleList(nn.Module() for _ in STRIDES))
        for scale in self.bbox_head['scales']:
            scale.scale = nn.Parameter(torch.ones(()))
        for part in (self.backbone.conv1, self.backbone.bn1, self.backbone.layer1):
            part.requires_grad_(False)
        self.eval()  # BatchNorm on stored statistics; nothing else here cares

    def head(self, x, tower, last):
        for layer in self.bbox_head[tower]:
            x = F.relu(layer['gn'](layer['conv'](x)))
        x = self.bbox_head[last](x).float()
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])

    def forward(self, x):
        lateral = [m['conv'](c) for m, c in zip(self.neck['lateral_convs'], self.backbone(x))]
        for i in (1, 0):
            lateral[i] = lateral[i] + F.interpolate(lateral[i + 1], size=lateral[i].shape[2:], mode='nearest')
        out = [m['conv'](v) for m, v in zip(self.neck['fpn_convs'], lateral)]
        for m in self.neck['fpn_convs'][3:]:
            out.append(m['conv'](out[-1]))
        cls = torch.cat([self.head(v, 'cls_convs', 'gfl_cls') for v in out], 1)
        reg = torch.cat([self.head(v, 'reg_convs', 'gfl_reg') * s.scale
                         for v, s in zip(out, self.bbox_head['scales'])], 1)
        return cls.reshape(-1, CLASSES), reg.reshape(-1, 4, BINS)


# ---- the losses ----

class Targets:
    """The rows of a batch; `label` is -1 where a row is of the VLR alone."""

    def __init__(self, data, device):
        n, h, w, _ = data['pictures'].shape
        sides, centers, level = [], [], []
        for i, stride in enumerate(STRIDES):
            rows, columns = -(-h // stride), -(-w // stride)
            y, x = numpy.mgrid[:rows, :columns].reshape(2, -1) * stride
            centers.append(numpy.stack([x, y], 1))
            level += [i] * (rows * columns)
        tensor = lambda a, kind: torch.as_tensor(numpy.ascontiguousarray(a), dtype=kind, device=device)
        level, centers = numpy.array(level), numpy.concatenate(centers)
        index, label = data['index'].astype(int), data['label'].astype(int)
        main, vlr, place = label >= 0, data['vlr'] > 0, index % len(level)
        stride = numpy.array(STRIDES)[level[place]]
        box, center = data['box'], centers[place]
        sides = numpy.concatenate([center - box[:, :2], box[:, 2:] - center], 1) / stride[:, None]
        self.main, self.vlr = tensor(index[main], torch.long), tensor(index[vlr], torch.long)
        self.label = tensor(label[main], torch.long)
        self.side = tensor(sides[main], torch.float32)
        self.vlr_value = tensor(data['vlr'][vlr], torch.float32)
        self.teacher = [tensor(data['teacher_class'][main], torch.float32),
                        tensor(data['teacher_box'][main].reshape(-1, 4, BINS), torch.float32),
                        tensor(data['teacher_box'][vlr].reshape(-1, 4, BINS), torch.float32)]
        own = level[place[main]]
        self.level_share = tensor(1 / numpy.bincount(own, minlength=len(STRIDES)).clip(1)[own], torch.float32)
        image = index[main] // len(level)
        self.n_positive = float(numpy.bincount(image, minlength=n).clip(1).sum())
        self.bins = torch.arange(BINS, dtype=torch.float32, device=device)


def kl(teacher, student, temperature):
    """Mean over bins, as the reference has it."""
    t = F.log_softmax(teacher / temperature, -1)
    s = F.log_softmax(student / temperature, -1)
    return (t.exp() * (t - s)).mean(-1) * temperature ** 2


def overlap(d, target):
    """IoU and GIoU of boxes around one centre, by their four distances."""
    area = lambda v: (v[:, 0] + v[:, 2]) * (v[:, 1] + v[:, 3])
    low = torch.minimum(d, target)
    inter = (low[:, 0] + low[:, 2]).clamp(min=0) * (low[:, 1] + low[:, 3]).clamp(min=0)
    union = (area(d) + area(target) - inter).clamp(min=1e-6)
    hull = area(torch.maximum(d, target)).clamp(min=1e-6)
    return inter / union, inter / union - (hull - union) / hull


def loss(cls, reg, t, teacher):
    """teacher: (class logits of main rows, box logits of main and of VLR rows)."""
    z, sides = cls[t.main], reg[t.main]
    distance = F.softmax(sides, -1) @ t.bins
    iou, giou = overlap(distance, t.side)
    y = torch.zeros_like(cls)
    y[t.main, t.label] = iou.detach()
    bce = F.binary_cross_entropy_with_logits(cls, y, reduction='none')
    total = (bce * (cls.sigmoid() - y) ** 2).sum() / t.n_positive

    weight = z.detach().sigmoid().max(1)[0]
    factor = weight.sum() + 1e-6
    total = total + 2 * ((1 - giou) * weight).sum() / factor
    wanted = t.side.clamp(0, BINS - 1 - 0.1)
    left = wanted.floor()
    log_p = F.log_softmax(sides, -1)
    at = lambda k: log_p.gather(-1, k.long()[..., None])[..., 0]
    dfl = -(left + 1 - wanted) * at(left) - (wanted - left) * at(left + 1)
    total = total + 0.25 * (dfl * weight[:, None]).sum() / (4 * factor)
    if teacher is None:
        return total
    total = total + 0.25 / 4 * (kl(teacher[1], sides, 10) * weight[:, None]).sum()
    total = total + 0.25 / 16 * (kl(teacher[2], reg[t.vlr], 10) * t.vlr_value[:, None]).sum()
    return total + 10 * (kl(teacher[0], z, 2) * t.level_share).sum()


# ---- the numbers ----

def read_safetensors(path):
    with open(path, 'rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        data = numpy.frombuffer(file.read(), 'u1')
    header.pop('__metadata__', None)
    out = {}
    for name, entry in header.items():
        begin, end = entry['data_offsets']
        out[name] = data[begin:end].view('<f4').reshape(entry['shape'])
    return out


def network(data, prefix, device):
    state = {k[len(prefix):]: torch.tensor(v) for k, v in data.items() if k.startswith(prefix)}
    deep = 'backbone.layer1.0.conv3.weight' in state
    blocks = sum(k.startswith('backbone.layer3.') and k.endswith('.conv1.weight') for k in state)
    net = Detector({2: 18, 6: 50 if deep else 34, 23: 101}[blocks])
    missing, unexpected = net.load_state_dict(state, strict=False)
    missing = [k for k in missing if not k.endswith('num_batches_tracked')]
    if missing or unexpected:
        sys.exit(f'bench_torch.py: {prefix}*: missing {missing[:3]}, unexpected {unexpected[:3]}')
    return net.to(device, memory_format=torch.channels_last)


# ---- timing ----

class Bench:
    def __init__(self, options):
        data = read_safetensors(options.source)
        self.device, self.options = torch.device(options.device), options
        self.cuda = self.device.type == 'cuda'
        self.student = network(data, 'student.', self.device)
        self.teacher = network(data, 'teacher.', self.device)
        self.targets = Targets(data, self.device)
        self.sgd = torch.optim.SGD([p for p in self.student.parameters() if p.requires_grad], 1e-6, 0.9,
                                   weight_decay=1e-4)
        self.pictures = torch.tensor(data['pictures']).to(torch.uint8)
        if self.cuda:
            self.pictures = self.pictures.pin_memory()
        self.run_student, self.run_teacher = self.student, self.teacher
        if options.compile:
            self.run_student, self.run_teacher = torch.compile(self.student), torch.compile(self.teacher)

    def number_type(self):
        if self.options.precision == 'bf16':
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def image(self, n):
        x = self.pictures[:n].to(self.device, non_blocking=True)
        return ((x.float() - 128) / 128).permute(0, 3, 1, 2)  # which is channels_last

    def total(self, way, x):
        rows = None
        if way == 'resident':
            with torch.no_grad(), self.number_type():
                cls, reg = self.run_teacher(x)
                rows = cls[self.targets.main], reg[self.targets.main], reg[self.targets.vlr]
        elif way == 'cached':
            rows = self.targets.teacher
        with self.number_type():
            cls, reg = self.run_student(x)
        return loss(cls, reg, self.targets, rows)

    def run(self, way):
        if way == 'infer':
            with torch.no_grad(), self.number_type():
                self.run_teacher(self.image(1))
            return
        self.sgd.zero_grad()
        self.total(way, self.image(len(self.pictures))).backward()
        self.sgd.step()

    def round(self, way):
        """Seconds of one."""
        steps = self.options.steps
        if not self.cuda:
            began = time.perf_counter()
            for _ in range(steps):
                self.run(way)
            return (time.perf_counter() - began) / steps
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record()
        for _ in range(steps):
            self.run(way)
        ended.record()
        ended.synchronize()
        return began.elapsed_time(ended) / 1e3 / steps


NAMES = {'plain': 'train step, plain', 'cached': 'train step, cached rows',
         'resident': 'train step, resident R-101', 'infer': 'R-101 inference, batch 1'}


def parse():
    title, usage, text = __doc__.split('\n\n', 2)
    parser = argparse.ArgumentParser(usage=usage[len('usage: '):], description=title + '\n\n' + text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--from', dest='source', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--steps', type=int, default=1)
    parser.add_argument('--threads', type=int, default=0)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--precision', choices=('fp32', 'tf32', 'bf16'), default='fp32')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--ways', default='plain,resident,infer')
    options = parser.parse_args()
    options.ways = options.ways.split(',')
    unknown = set(options.ways) - set(NAMES)
    if unknown:
        parser.error(f'--ways: {unknown.pop()}: expected some of {", ".join(NAMES)}')
    if options.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('bench_torch.py: this PyTorch sees no CUDA GPU')
    if options.compile and not hasattr(torch, 'compile'):
        sys.exit(f'bench_torch.py: --compile: PyTorch {torch.__version__} has no torch.compile')
    return options


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision != 'fp32'
    torch.backends.cudnn.benchmark = True
    bench = Bench(options)
    print(f'PyTorch {torch.__version__}, {options.device}, {options.precision}'
          f'{", compiled" if options.compile else ""}')
    for way in options.ways:
        if way != 'infer':
            print(f'{"loss, " + way:28s} {bench.total(way, bench.image(len(bench.pictures))).item():.7g}')
    times = {way: [] for way in options.ways}
    for i in range(options.rounds + 1):  # the first warms up
        for way in options.ways:
            seconds = bench.round(way)
            if i:
                times[way].append(seconds)
    for way, seconds in times.items():
        print(f'{NAMES[way]:28s} {statistics.median(seconds):.4f} s')
    if bench.cuda:
        free, total = torch.cuda.mem_get_info()
        print(f'{"memory":28s} {(total - free) / 1e6:.0f} MB')


if __name__ == '__main__':
    main()
