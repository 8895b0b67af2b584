# PyTorch's side of the benchmark, run eagerly: the protocol of host.mjs on the items of workloads.mjs. Kernels and images
# come channels-last and are permuted to PyTorch's layout, so that weights and inputs are the same.
import json
import sys
import time

started = time.perf_counter()
import torch
import torch.nn.functional as F

threads = int(sys.argv[1])
torch.set_num_threads(threads)
WORD = 0xFFFFFFFF


def imul(a, b):
    """The low 32 bits of a product of 32-bit words; in halves, so that nothing overflows 63 bits."""
    return (a * (b & 0xFFFF) + (((a * (b >> 16)) & 0xFFFF) << 16)) & WORD


def numbers(n, seed):
    """workloads.mjs: numbers(n, seed)."""
    s = (seed + imul(torch.arange(1, n + 1), torch.tensor(0x6D2B79F5))) & WORD
    t = imul(s ^ (s >> 15), s | 1)
    t = ((t + imul(t ^ (t >> 7), t | 61)) & WORD) ^ t
    return ((t ^ (t >> 14)) >> 8).double() / 2**24


def array(spec):
    shape = spec["shape"]
    n = 1
    for size in shape:
        n *= size
    if "fill" in spec:
        return torch.full(shape, float(spec["fill"]))
    drawn = numbers(n, spec["seed"]).float().double()
    if "below" in spec:
        return torch.floor(drawn * spec["below"]).long().reshape(shape)
    return (spec["low"] + (spec["high"] - spec["low"]) * drawn).float().reshape(shape)


def checksum(y):
    y = y.detach().double().flatten()
    return float((y.abs() * (1 + torch.arange(len(y)) % 7)).mean())


def chain(x):
    y = torch.exp(-(torch.tanh(x * 1.01 + 0.5) * x))
    return torch.sigmoid(torch.relu(torch.sqrt(y + 1) - 1)) * 2


def pulled(f):
    """f, or with a cotangent its pull: forward and backward."""

    def run(x, cotangent=None):
        if cotangent is None:
            with torch.no_grad():
                return f(x)
        x = x.requires_grad_(True)
        return torch.autograd.grad(f(x), x, cotangent)[0]

    return run


def total(item):
    return pulled(torch.sum) if not item["backward"] else lambda x: pulled(torch.sum)(x, torch.tensor(1.0))


FUNCTIONS = {
    "matmul": lambda item: torch.matmul,
    "chain": lambda item: chain,
    "sum": total,
    "softmax": lambda item: pulled(lambda x: torch.softmax(x, -1)),
    "layerNorm": lambda item: pulled(lambda x: F.layer_norm(x, x.shape[-1:])),
}


def micro(item):
    inputs = [array(spec) for spec in item["inputs"]]
    if item["kind"] == "dispatch":

        def call():
            (x,) = inputs
            y = x
            for _ in range(item["count"]):
                y = y + x
            return y

    else:
        f = FUNCTIONS[item["kind"]](item)

        def call():
            return f(*inputs)

    return call, lambda: checksum(call())


def cnn(network, p, batch):
    """In PyTorch's layout: what is flattened is turned back to channels-last by the weights instead."""
    x = F.max_pool2d(F.relu(F.conv2d(batch["image"], p["w1"], p["b1"])), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, p["w2"], p["b2"])), 2)
    x = F.relu(F.conv2d(x, p["w3"], p["b3"])).flatten(1)
    return F.relu(x @ p["w4"] + p["b4"]) @ p["w5"] + p["b5"]


def strided(network, p, batch):
    x = batch["image"]
    for i in range(1, network["depth"] + 1):
        x = F.leaky_relu(F.conv2d(x, p[f"w{i}"], p[f"b{i}"], stride=2, padding=1), 0.2)
    return x.mean((2, 3)) @ p["weight"] + p["bias"]


def text(network, p, batch):
    x = F.embedding(batch["ids"], p["embedding"])
    if network["encoder"]:
        n, length, dim = x.shape
        heads = network["heads"]
        q, k, v = ((x @ p[w]).view(n, length, heads, -1).transpose(1, 2) for w in ("query", "key", "value"))
        a = torch.softmax(q @ k.transpose(-1, -2) / (dim // heads) ** 0.5, -1) @ v
        x = x + a.transpose(1, 2).reshape(n, length, dim) @ p["output"]
        x = F.layer_norm(x, (dim,), p["scale1"], p["shift1"])
        x = x + F.relu(x @ p["up"] + p["upBias"]) @ p["down"] + p["downBias"]
        x = F.layer_norm(x, (dim,), p["scale2"], p["shift2"])
    return x.mean(1) @ p["weight"] + p["bias"]


def mlp(network, p, batch):
    x = batch["image"]
    for i in range(1, network["depth"] + 1):
        x = x @ p[f"w{i}"] + p[f"b{i}"]
        if i < network["depth"]:
            x = torch.tanh(x)
    return x


LOGITS = {"cnn": cnn, "strided": strided, "text": text, "mlp": mlp}


def build(network):
    p = {name: array(spec) for name, spec in network["parameters"].items()}
    batch = {name: array(spec) for name, spec in network["inputs"].items()}
    if network["kind"] == "cnn":
        # Rows of w4 are (height, width, channel) there, (channel, height, width) here.
        p["w4"] = p["w4"].view(3, 3, 64, 64).permute(2, 0, 1, 3).reshape(576, 64).contiguous()
    if network["kind"] in ("cnn", "strided"):
        for name in ("w1", "w2", "w3"):
            p[name] = p[name].permute(3, 2, 0, 1).contiguous()
        batch["image"] = batch["image"].permute(0, 3, 1, 2).contiguous()
    return {name: t.requires_grad_(True) for name, t in p.items()}, batch


def step(item):
    network, variant = item["network"], item["variant"]
    p, batch = build(network)
    forward = LOGITS[network["kind"]]

    def loss(p, batch):
        return F.cross_entropy(forward(network, p, batch), batch["label"])

    def plain():
        return loss(p, batch)

    def fgsm():
        image = batch["image"].clone().requires_grad_(True)
        clean = loss(p, {**batch, "image": image})
        (slope,) = torch.autograd.grad(clean, image, retain_graph=True)
        moved = (image + network["attack"]["stepSize"] * slope.sign()).detach()
        return clean + network["attack"]["multiplier"] * loss(p, {**batch, "image": moved})

    def fgm():
        clean = loss(p, batch)
        (slope,) = torch.autograd.grad(clean, p["embedding"], retain_graph=True)
        shift = network["attack"]["stepSize"] * slope / (slope.norm() + 1e-12)
        return clean + loss({**p, "embedding": p["embedding"] + shift}, batch)

    def penalty():
        if network["kind"] == "text":
            clean, leaf = loss(p, batch), p["embedding"]
        else:
            leaf = batch["image"].clone().requires_grad_(True)
            clean = loss(p, {**batch, "image": leaf})
        (slope,) = torch.autograd.grad(clean, leaf, create_graph=True)
        return clean + network["penalty"] * (slope * slope).sum()

    if variant == "forward":

        def call():
            with torch.no_grad():
                return forward(network, p, batch)

        return call, lambda: checksum(call())
    losses = {"plain": plain, "FGSM": fgsm, "FGM": fgm, "penalty": penalty}
    optimizer = torch.optim.Adam(p.values(), network["rate"])

    def train():
        optimizer.zero_grad()
        value = losses[variant]()
        value.backward()
        optimizer.step()
        return value.item()

    return train, train


def timed(call):
    began = time.perf_counter()
    result = call()
    return result, 1000 * (time.perf_counter() - began)


class Side:
    def prepare(self, item):
        self.call, check = (step if item["kind"] == "step" else micro)(item)
        checks = [timed(check) for _ in range(item.get("checks", 1))]
        return {"first": checks[0][1], "last": checks[-1][1], "values": [value for value, _ in checks]}

    def round(self, calls):
        return {"times": [timed(self.call)[1] for _ in range(calls)]}

    def sample(self, seconds):
        """Calls as many at a time as take some 50 ms, as Benchmark.js does."""
        _, once = timed(self.call)
        together = max(1, round(50 / max(once, 1e-3)))
        times, end = [], time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < end:
            times.append(timed(lambda: [self.call() for _ in range(together)])[1] / together)
        return {"times": times}


def reply(message):
    print(json.dumps(message, allow_nan=False), flush=True)


def blas():
    """The libraries that its products use: Debian's reference BLAS is many times slower than OpenBLAS."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "blas" in line or "mkl_core" in line}
    except OSError:
        return "unknown"
    return ", ".join(sorted({path.rsplit("/", 1)[-1] for path in paths})) or "built in"


side = Side()
reply(
    {
        "opened": 1000 * (time.perf_counter() - started),
        "about": f"{torch.__version__}, Python {sys.version.split()[0]}, BLAS: {blas()}",
        "threads": threads,
    }
)
for line in sys.stdin:
    request = json.loads(line)
    command = request.pop("command")
    try:
        reply(getattr(side, command)(**request))
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}".splitlines()[0]})
