"""PyTorch's times for the cases of run.mjs, which come as JSON on stdin; a line of JSON for each row as it is measured.

Before that, losses of small networks are computed on weights and batches that saddlepoint wrote, and compared.
Every case is run eagerly without TF32, then with it where it matters; chains and training steps also by torch.compile.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument('--folder', required=True, help='where arrays to check with lie')
parser.add_argument('--limit', type=float, default=600, help='seconds after which nothing new is started')
parser.add_argument('--cpu', action='store_true')
options = parser.parse_args()
device = torch.device('cpu' if options.cpu else 'cuda')
cuda = device.type == 'cuda'
began = time.perf_counter()


def emit(**row):
    print(json.dumps(row), flush=True)


# Networks: the specs of networks.mjs. Parameters have the names of the library's.


class Pool(nn.Module):
    def __init__(self, window):
        super().__init__()
        self.window = window

    def forward(self, x):
        return F.max_pool2d(x, self.window)


MODULES = {
    'conv': lambda i, o, kernel, padding: nn.Conv2d(i, o, kernel, padding=kernel // 2 if padding == 'same' else 0),
    'linear': nn.Linear,
    'pool': Pool,
    'relu': nn.ReLU,
    'flatten': nn.Flatten,
}


class Images(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(*[MODULES[kind](*sizes) for kind, *sizes in spec['layers']])

    def forward(self, image):
        return self.layers(image)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.heads = heads
        # PyTorch's fused attention has no second derivative; steps with a penalty turn it off.
        self.fused = hasattr(F, 'scaled_dot_product_attention')

    def forward(self, x):
        n, length, dim = x.shape
        split = lambda y: y.view(n, length, self.heads, -1).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
        return self.output(y.transpose(1, 2).reshape(n, length, dim))


class Block(nn.Module):
    def __init__(self, spec):
        super().__init__()
        dim = spec['dim']
        self.attention = Attention(dim, spec['heads'])
        self.attentionNorm = nn.LayerNorm(dim, eps=1e-12)
        self.up = nn.Linear(dim, spec['inner'])
        self.down = nn.Linear(spec['inner'], dim)
        self.outputNorm = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x):
        y = self.attentionNorm(x + self.attention(x))
        return self.outputNorm(y + self.down(F.gelu(self.up(y))))


class Bert(nn.Module):
    def __init__(self, spec):
        super().__init__()
        dim = spec['dim']
        self.word = nn.Embedding(spec['vocabulary'], dim)
        self.position = nn.Embedding(spec['positions'], dim)
        self.tokenType = nn.Embedding(spec['types'], dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec['blocks']))
        self.pooler = nn.Linear(dim, dim)
        self.classifier = nn.Linear(dim, spec['classes'])
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.uniform_(module.weight, -spec['spread'], spec['spread'])

    def forward(self, words, ids, types):
        x = F.embedding(ids, words) + self.position.weight[: ids.shape[1]] + self.tokenType(types)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


def build(spec, variant):
    model = (Bert if spec['kind'] == 'bert' else Images)(spec).to(device)
    for module in model.modules():
        if isinstance(module, Attention) and variant == 'penalty':
            module.fused = False
    return model


def make_batch(spec, n):
    label = torch.arange(n) * 3 % spec['classes']
    if spec['kind'] == 'image':
        h, w, c = spec['image']
        batch = {'image': torch.rand(n, c, h, w), 'label': label}
    else:
        i = torch.arange(n * spec['length']).view(n, -1)
        batch = {'ids': i * 7919 % spec['vocabulary'], 'types': i % spec['types'], 'label': label}
    return {name: x.to(device) for name, x in batch.items()}


# Losses, as steps.mjs has them. The leaf is the image or the matrix of word embeddings.


def robust_loss(spec, variant, settings, model, call, batch):
    """call is the model, perhaps compiled."""
    is_bert = spec['kind'] == 'bert'
    leaf = model.word.weight if is_bert else batch['image'].detach().requires_grad_(variant != 'plain')

    def at(x):
        logits = call(x, batch['ids'], batch['types']) if is_bert else call(x)
        return F.cross_entropy(logits, batch['label'])

    def length(x):
        return x.norm() if is_bert else x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    loss = at(leaf)
    if variant == 'plain':
        return loss
    if variant == 'penalty':
        (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
        return loss + settings['penalty'] * (1 if is_bert else len(batch['label'])) * slope.square().sum()
    attack = settings[variant]
    (slope,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    delta = torch.zeros_like(leaf)
    for i in range(attack['iterations']):
        if i > 0:
            x = (leaf.detach() + delta).requires_grad_()
            (slope,) = torch.autograd.grad(at(x), x)
        delta = delta + attack['stepSize'] * slope / length(slope)
        if 'epsilon' in attack:
            delta = delta / (length(delta) / attack['epsilon']).clamp(min=1)
    return loss + at(leaf + delta.detach())


def measure_step(case, how_often, compiled, settings):
    spec, variant = case['spec'], case['variant']
    model = build(spec, variant)
    call = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    batch = make_batch(spec, case['batchSize'])

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = robust_loss(spec, variant, settings, model, call, batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    times = timed(step, how_often)
    return {**times, 'examplesPerSecond': case['batchSize'] / times['wall'] * 1000}


# Single operations: the kinds of micro.mjs.


def drawn(*shape, dtype=torch.float32):
    return (torch.rand(shape, device=device) * 2 - 1).to(dtype)


def ids(count, n):
    return (torch.arange(count, device=device) * 7919) % n


def conv(c):
    x = drawn(c['n'], c['inputs'], c['size'], c['size'])
    w = drawn(c['outputs'], c['inputs'], c['kernel'], c['kernel'])
    how = {'stride': c['stride'], 'padding': c['kernel'] // 2}
    y = drawn(*F.conv2d(x, w, **how).shape)
    return {
        'forward': lambda: F.conv2d(x, w, **how),
        'input': lambda: nn.grad.conv2d_input(x.shape, w, y, **how),
        'weight': lambda: nn.grad.conv2d_weight(x, w.shape, y, **how),
    }[c['pass']]


def matmul(c):
    a, b = (drawn(*c[name], dtype=getattr(torch, c['dtype'])) for name in 'ab')
    return lambda: a @ b


def chain(c):
    x = drawn(c['n'])

    def f():
        y = x
        for i in range(c['ops']):
            y = y + (0.25 + i) if i % 2 else y * (1.5 + i)
        return y

    return f


def reduce(c):
    x = drawn(*c['shape'])
    return lambda: x.sum() if c['axis'] is None else x.sum(c['axis'])


def softmax(c):
    x = drawn(*c['shape'])
    return lambda: torch.softmax(x, -1)


def layernorm(c):
    x, layer = drawn(*c['shape']), nn.LayerNorm(c['shape'][1]).to(device)
    return lambda: layer(x)


def gather(c):
    x, i = drawn(c['rows'], c['dim']), ids(c['tokens'], c['rows'])
    return lambda: F.embedding(i, x)


def scatter(c):
    x, i = drawn(c['tokens'], c['dim']), ids(c['tokens'], c['rows'])
    return lambda: torch.zeros(c['rows'], c['dim'], device=device).index_add_(0, i, x)


def argsort(c):
    x = drawn(c['n'])
    return lambda: torch.sort(x, stable=True)[1]


KINDS = {
    'matmul': matmul,
    'conv': conv,
    'chain': chain,
    'reduce': reduce,
    'softmax': softmax,
    'layernorm': layernorm,
    'gather': gather,
    'scatter': scatter,
    'argsort': argsort,
}


def timed(call, how_often):
    """As measure.mjs: `kernel` is the time between CUDA events around the calls, so it holds gaps between kernels."""

    def stopwatch(calls):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else None
        start = time.perf_counter()
        if events:
            events[0].record()
        for _ in range(calls):
            result = call()
        if events:
            events[1].record()
        result.flatten()[0].item()
        wall = 1000 * (time.perf_counter() - start) / calls
        return wall, events[0].elapsed_time(events[1]) / calls if events else None

    first, _ = stopwatch(1)
    stopwatch(1)
    one, _ = stopwatch(1)
    calls = max(1, min(100, round(1000 * how_often['seconds'] / how_often['samples'] / one)))
    rounds = [stopwatch(calls) for _ in range(how_often['samples'])]
    wall, kernel = (statistics.median(column) if column[0] is not None else None for column in zip(*rounds))
    return {'first': first, 'wall': wall, 'kernel': kernel}


# The check: equal weights and batches must give equal losses.


def load(model, arrays, spec):
    """Parameters in PyTorch's layout: channels first, weights of linear layers as [out, in]."""
    modules = dict(model.named_modules())
    for name, p in model.named_parameters():
        a = arrays[f'model.{name}']
        path, _, kind = name.rpartition('.')
        module = modules[path]
        if kind == 'weight' and isinstance(module, nn.Conv2d):
            a = a.permute(3, 2, 0, 1)
        elif kind == 'weight' and isinstance(module, nn.Linear):
            layers = list(modules['layers']) if 'layers' in modules else []
            at = next((i for i, layer in enumerate(layers) if layer is module), 0)
            if at and isinstance(layers[at - 1], nn.Flatten):
                # Flattened images: rows come as [height, width, channels], and go as [channels, height, width].
                channels = [layer.out_channels for layer in layers[:at] if isinstance(layer, nn.Conv2d)][-1]
                side = math.isqrt(len(a) // channels)
                a = a.view(side, side, channels, -1).permute(2, 0, 1, 3).reshape(a.shape)
            a = a.T
        with torch.no_grad():
            p.copy_(a)


def check(case, settings):
    spec = case['spec']
    dtypes = {'float32': torch.float32, 'int32': torch.int32}
    arrays = {}
    for a in case['arrays']:
        with open(os.path.join(options.folder, a['file']), 'rb') as file:
            data = torch.frombuffer(bytearray(file.read()), dtype=dtypes[a['dtype']])
        arrays[a['name']] = data.view(a['shape']).to(device)
    batch = {name[6:]: a.long() if a.dtype == torch.int32 else a for name, a in arrays.items() if name.startswith('batch.')}
    if 'image' in batch:
        batch['image'] = batch['image'].permute(0, 3, 1, 2).contiguous()
    for variant, expected in case['losses'].items():
        model = build(spec, variant)
        load(model, arrays, spec)
        loss = robust_loss(spec, variant, settings, model, model, batch).item()
        row = {'name': f"check {case['net']}, {variant}", 'loss': loss, 'expected': expected}
        if not abs(loss - expected) <= 1e-4 * abs(expected):
            row['error'] = f'the loss is {loss} here and {expected} in saddlepoint'
        emit(**row)


def set_tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def ways(case):
    """How a case is run: name, TF32, compiled."""
    yield 'float32', False, False
    if cuda and case['kind'] in ('matmul', 'conv', 'step') and case.get('dtype') != 'float16':
        yield 'tf32', True, False
    if cuda and case['kind'] in ('chain', 'step') and hasattr(torch, 'compile'):
        yield 'compiled', False, True
        if case['kind'] == 'step':
            yield 'compiled tf32', True, True


def measure(index, case, job):
    for way, tf32, compiled in ways(case):
        about = {'name': f"{case['name']}, {way}", 'case': index}
        if time.perf_counter() - began > options.limit:
            emit(**about, error='not started for lack of time')
            continue
        set_tf32(tf32)
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if compiled:
            # Past a number of versions of one function it would run eagerly without a word.
            torch._dynamo.reset()
        try:
            if case['kind'] == 'step':
                row = measure_step(case, job['howOften'], compiled, job['settings'])
            else:
                with torch.no_grad():
                    f = KINDS[case['kind']](case)
                    row = timed(torch.compile(f) if compiled else f, job['howOften'])
            if cuda:
                row['megabytes'] = torch.cuda.max_memory_allocated() / 1e6
        except Exception as error:
            row = {'error': f'{type(error).__name__}: {error}'}
        emit(**about, **row)


job = json.load(sys.stdin)
torch.backends.cudnn.benchmark = True
emit(
    about={
        'torch': torch.__version__,
        'device': torch.cuda.get_device_name() if cuda else f'CPU, {torch.get_num_threads()} threads',
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version() if cuda else None,
    }
)
set_tf32(False)
for case in job['checks']:
    check(case, job['settings'])
for index, case in enumerate(job['cases']):
    measure(index, case, job)
