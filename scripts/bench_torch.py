#!/usr/bin/env python3
"""Times the same training step in PyTorch: GFL with a ResNet, on the CPU.

usage: bench_torch.py DEPTH SIZE BATCH ROUNDS [THREADS]

The network, the frozen stem and stage 1, BatchNorm on stored statistics and the
losses (QFL over all locations; GIoU, DFL, LD, VLR LD and KD over chosen rows)
are those of bench-step; targets are random rows of about the same number, so
assignment costs PyTorch nothing here. Prints medians, the ways taking turns.
"""
import statistics
import sys
import time

import torch
from torch import nn
import torch.nn.functional as F

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CLASSES, BINS = 80, 17


def conv(cin, cout, kernel, stride=1, bias=False):
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=bias)


class Block(nn.Module):
    def __init__(self, cin, planes, stride, deep):
        super().__init__()
        cout = planes * (4 if deep else 1)
        if deep:
            layers = [conv(cin, planes, 1), conv(planes, planes, 3, stride), conv(planes, cout, 1)]
        else:
            layers = [conv(cin, planes, 3, stride), conv(planes, planes, 3)]
        self.convs = nn.ModuleList(layers)
        self.bns = nn.ModuleList(nn.BatchNorm2d(c.out_channels) for c in layers)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = x
        for i, (c, b) in enumerate(zip(self.convs, self.bns)):
            y = b(c(y))
            if i + 1 < len(self.convs):
                y = F.relu(y)
        return F.relu(y + (x if self.down is None else self.down(x)))


class Detector(nn.Module):
    def __init__(self, depth):
        super().__init__()
        deep = depth >= 50
        self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages, cin, outs = nn.ModuleList(), 64, []
        for i, n in enumerate(BLOCKS[depth]):
            planes, blocks = 64 << i, []
            for j in range(n):
                blocks.append(Block(cin, planes, 2 if i and not j else 1, deep))
                cin = planes * (4 if deep else 1)
            self.stages.append(nn.Sequential(*blocks))
            outs.append(cin)
        self.lateral = nn.ModuleList(conv(c, 256, 1, bias=True) for c in outs[1:])
        self.fpn = nn.ModuleList(conv(256, 256, 3, 2 if i > 2 else 1, bias=True) for i in range(5))

        def tower():
            return nn.Sequential(*[m for _ in range(4) for m in (conv(256, 256, 3), nn.GroupNorm(32, 256), nn.ReLU())])
        self.cls_tower, self.reg_tower = tower(), tower()
        self.cls, self.reg = conv(256, CLASSES, 3, bias=True), conv(256, 4 * BINS, 3, bias=True)
        self.scales = nn.Parameter(torch.ones(5))
        for p in list(self.stem.parameters()) + list(self.stages[0].parameters()):
            p.requires_grad = False
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
            elif isinstance(m, Block):
                nn.init.zeros_(m.bns[-1].weight)

    def forward(self, x):
        maps, x = [], self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        lat = [m(c) for m, c in zip(self.lateral, maps[1:])]
        for i in (1, 0):
            lat[i] = lat[i] + F.interpolate(lat[i + 1], size=lat[i].shape[2:], mode='nearest')
        p = [m(v) for m, v in zip(self.fpn, lat)]
        p += [self.fpn[3](p[2])]
        p += [self.fpn[4](p[3])]
        rows = lambda t: t.permute(0, 2, 3, 1).reshape(t.shape[0], -1, t.shape[1])
        cls = torch.cat([rows(self.cls(self.cls_tower(v))) for v in p], 1)
        reg = torch.cat([rows(self.reg(self.reg_tower(v)) * s) for v, s in zip(p, self.scales)], 1)
        return cls.reshape(-1, CLASSES), reg.reshape(-1, 4, BINS)


def kl(teacher, student, T):
    t = F.softmax(teacher / T, -1)
    return F.kl_div(F.log_softmax(student / T, -1), t, reduction='none').mean(-1) * T * T


def loss(cls, reg, rows, teacher):
    pos, vlr, label, target = rows
    y = torch.zeros_like(cls)
    y[pos, label] = 0.5
    p = cls.sigmoid()
    total = (F.binary_cross_entropy_with_logits(cls, y, reduction='none') * (y - p) ** 2).sum() / len(pos)
    weight = p[pos].max(1)[0].detach()
    z = reg[pos]
    d = (F.softmax(z, -1) * torch.arange(BINS, dtype=torch.float32)).sum(-1)
    inter = torch.minimum(d, target).clamp(min=0)
    inter = (inter[:, 0] + inter[:, 2]) * (inter[:, 1] + inter[:, 3])
    area = lambda v: (v[:, 0] + v[:, 2]) * (v[:, 1] + v[:, 3])
    union = area(d) + area(target) - inter
    total = total + 2 * ((1 - inter / union.clamp(min=1e-6)) * weight).sum() / weight.sum()
    left = target.floor().long().clamp(max=BINS - 2)
    share = target - left
    lp = F.log_softmax(z, -1)
    dfl = -(1 - share) * lp.gather(-1, left[..., None])[..., 0] - share * lp.gather(-1, left[..., None] + 1)[..., 0]
    total = total + 0.25 * (dfl * weight[:, None]).sum() / (4 * weight.sum())
    if teacher is not None:
        tcls, treg = teacher
        total = total + 0.25 * (kl(treg[pos], z, 10) * weight[:, None]).sum() / 4
        total = total + 0.25 * (kl(treg[vlr], reg[vlr], 10) * 0.1).sum() / 16
        total = total + 10 * kl(tcls[pos], cls[pos], 2).mean()
    return total


def main():
    depth, size, batch, rounds = map(int, sys.argv[1:5])
    if len(sys.argv) > 5:
        torch.set_num_threads(int(sys.argv[5]))
    torch.manual_seed(1)
    student, teacher = Detector(depth), Detector(101)
    sgd = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 1e-3, 0.9, weight_decay=1e-4)
    x = torch.rand(batch, 3, size, size) * 2 - 1
    with torch.no_grad():
        places = len(teacher(x[:1])[0])
    pos = torch.randint(places * batch, (70 * batch,))
    rows = (pos, torch.randint(places * batch, (500 * batch,)), torch.randint(CLASSES, (len(pos),)),
            torch.rand(len(pos), 4) * 8)

    def step(resident):
        with torch.no_grad():
            taught = teacher(x) if resident else None
        sgd.zero_grad()
        loss(*student(x), rows, taught).backward()
        sgd.step()

    def infer():
        with torch.no_grad():
            teacher(x[:1])
    ways = {'train step, plain': lambda: step(False), 'train step, resident R-101': lambda: step(True),
            'R-101 inference, batch 1': infer}
    times = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if i:
                times[name].append(time.perf_counter() - began)
    for name, seconds in times.items():
        print(f'{name:28s} {statistics.median(seconds):.3f} s')


main()
