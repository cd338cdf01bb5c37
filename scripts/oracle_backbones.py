#!/usr/bin/env python3
"""Expected values of ResNeXt and Res2Net v1d, made by PyTorch's own layers.

usage: oracle_backbones.py FOLDER      (tests/golden/12_backbones)

Written from the papers and the reference's description, apart from the C code:
narrow networks of depth 50 whose weights and images come from the formula that
tests/golden.c knows. Values are computed in double; what fp32 makes of them is
kept beside them as the rounding to allow for. Seeds are such that fp32
and double find every ReLU on the same side.
"""
import json
import math
import pathlib
import sys

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

BLOCKS, WIDTH, FAR = (3, 4, 6, 3), 16, 4096


def uniform(stream, count):
    with np.errstate(over='ignore'):
        u32 = np.uint32
        h = np.arange(count, dtype=u32) * u32(2654435761) + u32(stream) * u32(2246822519) + u32(374761393)
        h = (h ^ (h >> u32(15))) * u32(2246822519)
        h = (h ^ (h >> u32(13))) * u32(3266489917)
        h ^= h >> u32(16)
    return (h >> u32(8)) * 2.0 ** -24


def gauss(stream, *shape):
    u = uniform(stream, 4 * math.prod(shape)).reshape(-1, 4)
    draws = (((u[:, 0] + u[:, 1]) + u[:, 2]) + u[:, 3] - 2) * 1.7320508075688772
    return torch.from_numpy(draws.astype(np.float32).reshape(shape))


def conv(cin, cout, kernel, stride=1, groups=1):
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False, groups=groups)


class ResNeXtBlock(nn.Module):
    def __init__(self, cin, planes, stride, groups, base_width):
        super().__init__()
        inner, cout = planes * base_width // 64 * groups, planes * 4
        self.conv1, self.bn1 = conv(cin, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, cout, 1), nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class Res2NetBlock(nn.Module):
    def __init__(self, cin, planes, stride, first, base_width):
        super().__init__()
        w, cout = planes * base_width // 64, planes * 4
        self.w, self.stride, self.first = w, stride, first
        self.conv1, self.bn1 = conv(cin, 4 * w, 1), nn.BatchNorm2d(4 * w)
        self.conv3, self.bn3 = conv(4 * w, cout, 1), nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            shrink = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(shrink, conv(cin, cout, 1), nn.BatchNorm2d(cout))
        self.convs = nn.ModuleList(conv(w, w, 3, stride) for _ in range(3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(w) for _ in range(3))

    def forward(self, x):
        splits = F.relu(self.bn1(self.conv1(x))).split(self.w, 1)
        done = []
        for i in range(3):
            into = splits[i] if self.first or i == 0 else splits[i] + done[-1]
            done.append(F.relu(self.bns[i](self.convs[i](into))))
        last = splits[3]
        if self.first and self.stride != 1:
            last = F.avg_pool2d(last, 3, self.stride, 1)
        y = self.bn3(self.conv3(torch.cat(done + [last], 1)))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class Backbone(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.deep, half, cin = p['backbone'] == 'res2net', WIDTH // 2, WIDTH
        if self.deep:
            self.stem = nn.Sequential(conv(3, half, 3, 2), nn.BatchNorm2d(half), nn.ReLU(),
                                      conv(half, half, 3), nn.BatchNorm2d(half), nn.ReLU(),
                                      conv(half, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU())
        else:
            self.conv1, self.bn1 = conv(3, WIDTH, 7, 2), nn.BatchNorm2d(WIDTH)
        for i, n in enumerate(BLOCKS):
            blocks = []
            for j in range(n):
                planes, stride = WIDTH << i, 2 if i and not j else 1
                blocks.append(Res2NetBlock(cin, planes, stride, j == 0, p['base_width']) if self.deep else
                              ResNeXtBlock(cin, planes, stride, p['groups'], p['base_width']))
                cin = planes * 4
            setattr(self, f'layer{i + 1}', nn.Sequential(*blocks))

    def stages(self):
        stem = [self.stem] if self.deep else [self.conv1, self.bn1]
        return [stem] + [[getattr(self, f'layer{i}')] for i in range(1, 5)]

    def forward(self, x):
        x = self.stem(x) if self.deep else F.relu(self.bn1(self.conv1(x)))
        x, out = F.max_pool2d(x, 3, 2, 1), []
        for i in range(1, 5):
            x = getattr(self, f'layer{i}')(x)
            out.append(x)
        return out


def formula(name, tensor):
    """Offset and factor of the uniform draws."""
    if tensor.dim() == 4:
        bound = round(math.sqrt(6 / math.prod(tensor.shape[1:])), 3)
        return -bound, 2 * bound
    if name.endswith(('bias', 'running_mean')):
        return -0.2, 0.4
    return (0.2, 0.4) if 'bn3.weight' in name else (0.5, 1.0)


def set_weights(net, seed):
    """Fills the network; returns the lines that tests/golden.c does it by."""
    lines = ['# name dtype ndim dims... stream a b']
    for i, (name, tensor) in enumerate((n, t) for n, t in net.state_dict().items() if t.dim()):
        a, b = formula(name, tensor)
        values = (a + b * uniform(seed * FAR + i, tensor.numel())).astype(np.float32)
        tensor.copy_(torch.from_numpy(values.reshape(tensor.shape)))
        dims = ' '.join(map(str, tensor.shape))
        lines.append(f'{name} float32 {tensor.dim()} {dims} {seed * FAR + i} {a!r} {b!r}')
    return lines


def freeze(net, p):
    for i, parts in enumerate(net.stages()):
        for part in parts:
            frozen = i <= p['frozen_stages']
            part.requires_grad_(not frozen)
            part.train(not frozen and not p['norm_eval'])


def run(p, dtype):
    """Maps, gradients, statistics afterwards, and the lines of weights."""
    net = Backbone(p)
    lines = set_weights(net, p['weight_seed'])
    net = net.to(dtype)
    freeze(net, p)
    stream = p['upstream_seed'] * 32 + 7
    maps = net(gauss(stream + 99, *p['image']).to(dtype))
    loss = sum((m * gauss(stream + 1 + i, *m.shape).to(dtype)).sum() for i, m in enumerate(maps[1:]))
    loss.backward()
    arrays = {f'c{i + 2}_few': m[:, :2].detach() for i, m in enumerate(maps)}
    grads = {n: t.grad for n, t in net.named_parameters() if t.grad is not None}
    for name in p['whole_gradients']:
        arrays[f'grad__{name}'] = grads[name]
    for name in p['moved']:
        arrays[f'after__{name}'] = net.state_dict()[name]
    norms = {n: float(g.double().norm()) for n, g in grads.items()}
    return {n: a.double().numpy() for n, a in arrays.items()}, norms, lines


def write_case(folder, name, title, p):
    (arrays, norms, lines), (rounded, rounded_norms, _) = run(p, torch.float64), run(p, torch.float32)
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for key, value in arrays.items():
        np.save(folder / f'{key}.npy', value.astype(np.float32))
        described[key] = {'fp32_vs_fp64_max_abs_err': float(f'{abs(rounded[key] - value).max():.3g}')}
    stream = p['upstream_seed'] * 32 + 106
    case = {'case': folder.parent.name, 'instance': name, 'title': title, 'params': p, 'arrays': described,
            'generated_inputs': {'img': {'kind': 'gauss', 'stream': stream, 'shape': p['image'], 'params': [0, 1]}},
            'values': {'param_grad_norm': {n: float(f'{v:.7g}') for n, v in norms.items()},
                       'param_grad_norm_rounding': float(f'{max(abs(rounded_norms[n] / v - 1) for n, v in norms.items()):.3g}')}}
    (folder / 'case.json').write_text(json.dumps(case, indent=0) + '\n')
    (folder / 'weights.txt').write_text('\n'.join(lines) + '\n')


def main():
    folder = pathlib.Path(sys.argv[1])
    x = {'backbone': 'resnet', 'depth': 50, 'width': WIDTH, 'groups': 8, 'base_width': 16, 'frozen_stages': 1,
         'norm_eval': True, 'weight_seed': 201, 'upstream_seed': 120001, 'image': [2, 3, 45, 70], 'moved': [],
         'whole_gradients': ['layer2.0.conv2.weight', 'layer4.0.bn2.bias']}
    write_case(folder, 'x50', 'ResNeXt-50 of width 16, 8 groups of 4 to 32 channels; an odd canvas', x)
    r = {**x, 'backbone': 'res2net', 'groups': 1, 'base_width': 26, 'frozen_stages': -1, 'weight_seed': 202,
         'upstream_seed': 120002, 'whole_gradients': ['stem.3.weight', 'layer2.0.convs.1.weight', 'layer3.1.bns.2.weight']}
    write_case(folder, 'r2n50', 'Res2Net-50 v1d of width 16, splits of 6, 13, 26 and 52 channels; an odd canvas', r)
    t = {**r, 'frozen_stages': 1, 'norm_eval': False, 'weight_seed': 206, 'upstream_seed': 120003, 'image': [2, 3, 64, 96],
         'whole_gradients': ['layer2.0.bns.1.weight', 'layer3.1.bns.2.bias'],
         'moved': ['stem.1.running_mean', 'layer2.0.bns.1.running_mean', 'layer2.0.bns.1.running_var',
                   'layer4.1.bn1.running_mean', 'layer3.0.downsample.2.running_var']}
    write_case(folder, 'r2n50_bn_train', 'The same with the statistics of the batch; stem and layer1 frozen', t)


main()
