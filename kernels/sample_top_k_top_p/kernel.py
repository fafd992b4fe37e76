"""Draws the next token on the GPU, so that a row's logits need not cross to the host: no sort, a search over bits.

One kernel reads the logits and keeps the likeliest of each chunk; the other draws among these, where they are enough.
"""

import triton
import triton.language as tl


@triton.jit
def sample_candidates(
    logits, temperature, candidates, ids, statistics,
    VOCABULARY: tl.constexpr, ROW_STRIDE: tl.constexpr, CAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK logits of one row and keeps the CAP largest, in order of ids; ties go to the lower token.

    Where there are fewer, -inf of token -1 follows. `statistics` are the chunk's largest logit, the sum of its weights
    relative to that, and its least candidate, -inf where it has no other logits. At a temperature of 0 only the largest
    logit and its token, as the first candidate, are written.
    """
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = row * tl.num_programs(1) + chunk
    column = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = column < VOCABULARY
    values = tl.load(logits + row * ROW_STRIDE + column, mask=inside, other=float("-inf"))
    largest = tl.max(values, axis=0)
    tl.store(statistics + slot * 3, largest)
    heat = tl.load(temperature + row)
    if heat <= 0.0:
        first = tl.min(tl.where(inside & (values == largest), column, VOCABULARY), axis=0)
        tl.store(ids + slot * CAP, first)
    else:
        weight = tl.exp((values - tl.where(largest > float("-inf"), largest, 0.0)) * (1.0 / heat))
        tl.store(statistics + slot * 3 + 1, tl.sum(weight, axis=0))
        order = tl.where(inside, _order(values), 0)
        edge = _largest_edge(order, CAP)
        tied = (inside & (order == edge)).to(tl.int32)
        room = CAP - tl.sum((order > edge).to(tl.int32), axis=0)
        kept = (order > edge) | ((tied == 1) & (tl.cumsum(tied, axis=0) <= room))
        place = slot * CAP + tl.cumsum(kept.to(tl.int32), axis=0) - 1
        tl.store(candidates + place, values, mask=kept)
        tl.store(ids + place, column, mask=kept)
        least = tl.min(tl.where(kept, values, float("inf")), axis=0)
        left = VOCABULARY - chunk * BLOCK
        tl.store(statistics + slot * 3 + 2, tl.where(left > CAP, least, float("-inf")))
        behind = tl.arange(0, CAP)
        tl.store(candidates + slot * CAP + behind, float("-inf"), mask=behind >= left)
        tl.store(ids + slot * CAP + behind, -1, mask=behind >= left)


@triton.jit
def sample_top_k_top_p(
    logits, temperature, top_k, top_p, uniform, candidates, ids, statistics, token,
    VOCABULARY: tl.constexpr, ROW_STRIDE: tl.constexpr, CAP: tl.constexpr, CHUNKS: tl.constexpr,
    CHUNK_BLOCK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program takes one row: the `top_k` likeliest (0: all), of these the fewest whose share reaches `top_p`.

    Ties go to the lower token. The draw is the first token, in order of ids, whose running share of what is kept passes
    `uniform`. A temperature of 0 takes the likeliest. The last three inputs are what `sample_candidates` made; the
    logits are read only where these are too few.
    """
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.arange(0, CHUNK_BLOCK)
    there = chunk < CHUNKS
    slot = row * CHUNKS + chunk
    largest_of = tl.load(statistics + slot * 3, mask=there, other=float("-inf"))
    largest = tl.max(largest_of, axis=0)
    heat = tl.load(temperature + row)
    if heat <= 0.0:
        first = tl.load(ids + slot * CAP, mask=there, other=VOCABULARY)
        chosen = tl.min(tl.where(largest_of == largest, first, VOCABULARY), axis=0)
    else:
        inverse = 1.0 / heat
        total = tl.load(statistics + slot * 3 + 1, mask=there, other=0.0) * tl.exp((largest_of - largest) * inverse)
        floor = tl.load(statistics + slot * 3 + 2, mask=there, other=float("-inf"))
        asked = tl.load(top_k + row)
        asked = tl.where((asked <= 0) | (asked > VOCABULARY), VOCABULARY, asked)
        wanted = asked, tl.load(top_p + row), tl.load(uniform + row)
        scale = largest, inverse, tl.sum(total, axis=0)
        count: tl.constexpr = CHUNKS * CAP
        block: tl.constexpr = CHUNK_BLOCK * CAP
        best = candidates + row * count
        if _enough(best, tl.max(floor, axis=0), wanted, scale, VOCABULARY, CAP, count, block):
            place = _drawn(best, wanted, scale, VOCABULARY, count, block)
            chosen = tl.load(ids + row * count + place)
        else:
            chosen = _drawn(logits + row * ROW_STRIDE, wanted, scale, VOCABULARY, VOCABULARY, BLOCK)
    tl.store(token + row, tl.minimum(chosen, VOCABULARY - 1))  # of a row of no numbers, any that there is


@triton.jit
def _enough(
    best, floor, wanted, scale,
    VOCABULARY: tl.constexpr, CAP: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Whether all that may be drawn is among the candidates: each logit above `floor` is, those at it may not be."""
    asked, top_p, _ = wanted
    largest, inverse, total = scale
    above, mass, _ = _measure(best, largest, inverse, _order(floor), COUNT, BLOCK)
    by_mass = (asked == VOCABULARY) & (mass >= top_p * total)
    return (asked <= CAP) | (above >= asked) | by_mass | (floor == float("-inf"))


@triton.jit
def _drawn(source, wanted, scale, VOCABULARY: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """The place, among COUNT logits that hold all that may be drawn, of the one drawn."""
    asked, top_p, uniform = wanted
    largest, inverse, total = scale
    least = tl.full([], 0, tl.uint32)
    ties, mass_above, weight = asked, total, 0.0 * total
    if asked < VOCABULARY:
        least = _search(source, largest, inverse, asked.to(tl.float32), least, COUNT, BLOCK, False)
        above, mass_above, weight = _measure(source, largest, inverse, least, COUNT, BLOCK)
        ties = asked - above
    edge, before = least, mass_above
    goal = top_p * (mass_above + ties * weight)
    if goal <= mass_above:
        edge = _search(source, largest, inverse, goal, least, COUNT, BLOCK, True)
        _, before, weight = _measure(source, largest, inverse, edge, COUNT, BLOCK)
    needed = tl.where(weight > 0.0, tl.ceil((goal - before) / tl.where(weight > 0.0, weight, 1.0)), 1.0)
    needed = tl.maximum(needed, 1.0).to(tl.int32)
    needed = tl.where(edge == least, tl.minimum(needed, ties), needed)
    kept = before + needed * weight
    return _draw(source, largest, inverse, edge, needed, uniform * kept, COUNT, BLOCK)


@triton.jit
def _order(values):
    """A number of 32 bits, never negative, that grows with a float; the two zeros are one."""
    bits = tl.where(values == 0.0, 0.0, values).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits ^ (-2147483648)).to(tl.uint32, bitcast=True)


@triton.jit
def _advanced(edge, step, at_low, at_middle, at_high, goal, floor):
    """The highest of `edge` and the next three where what lies at it or above reaches `goal`; `floor` is known to.

    One reduction for the three; also gives what lies there, or more than `goal` where it stays at `edge`.
    """
    at = tl.sum(tl.join(tl.join(at_low, at_middle), tl.join(at_high, tl.zeros_like(at_high))), axis=0)
    steps = (1 + tl.arange(0, 2)[:, None] + 2 * tl.arange(0, 2)[None, :]).to(tl.uint32)
    reached = ((at >= goal) | (edge + steps * step <= floor)) & (steps < 4)
    steps_on = tl.sum(tl.sum(reached.to(tl.int32), axis=1), axis=0)
    return edge + steps_on.to(tl.uint32) * step, tl.min(tl.min(tl.where(reached, at, goal + 1), axis=1), axis=0)


@triton.jit
def _largest_edge(order, count):
    """An edge that `count` of a block's orders reach, else the highest that more do; 0 where there are fewer."""
    edge = tl.full([], 0, tl.uint32)
    step = tl.full([], 1 << 30, tl.uint32)
    reached = count + tl.full([], 1, tl.int32)
    while (step > 0) & (reached != count):
        at_low = (order >= edge + step).to(tl.int32)
        at_middle = (order >= edge + 2 * step).to(tl.int32)
        at_high = (order >= edge + 3 * step).to(tl.int32)
        edge, reached = _advanced(edge, step, at_low, at_middle, at_high, count, 0)
        step = step >> 2
    return edge


@triton.jit
def _measure(source, largest, inverse, edge, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """How many logits lie above `edge`, their weights' sum, and the weight of those at it."""
    count = tl.zeros([BLOCK], tl.int32)
    mass = tl.zeros([BLOCK], tl.float32)
    at_edge = tl.zeros([BLOCK], tl.float32)
    for at in range(0, COUNT, BLOCK):
        column = at + tl.arange(0, BLOCK)
        inside = column < COUNT
        values = tl.load(source + column, mask=inside, other=float("-inf"))
        order = _order(values)
        weight = tl.exp((values - largest) * inverse)
        count += (inside & (order > edge)).to(tl.int32)
        mass += tl.where(inside & (order > edge), weight, 0.0)
        at_edge = tl.maximum(at_edge, tl.where(inside & (order == edge), weight, 0.0))
    return tl.sum(count, axis=0), tl.sum(mass, axis=0), tl.max(at_edge, axis=0)


@triton.jit
def _search(
    source, largest, inverse, goal, floor,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, BY_MASS: tl.constexpr,
):  # fmt: skip
    """The highest edge at or above `floor` such that what lies at it or above reaches `goal`: a count, or a mass.

    Two bits a pass, three edges at once; threads add up what they see, and only at the end of a pass to one another. At
    `floor` the goal is known to be reached.
    """
    edge = tl.full([], 0, tl.uint32)
    step = tl.full([], 1 << 30, tl.uint32)
    for _ in range(16):
        low, middle, high = edge + step, edge + 2 * step, edge + 3 * step
        at_low, at_middle, at_high = (
            tl.zeros([BLOCK], tl.float32),
            tl.zeros([BLOCK], tl.float32),
            tl.zeros([BLOCK], tl.float32),
        )
        for at in range(0, COUNT, BLOCK):
            column = at + tl.arange(0, BLOCK)
            inside = column < COUNT
            values = tl.load(source + column, mask=inside, other=float("-inf"))
            order = tl.where(inside, _order(values), 0)
            worth = tl.exp((values - largest) * inverse) if BY_MASS else 1.0
            at_low += tl.where(order >= low, worth, 0.0)
            at_middle += tl.where(order >= middle, worth, 0.0)
            at_high += tl.where(order >= high, worth, 0.0)
        edge, _ = _advanced(edge, step, at_low, at_middle, at_high, goal, floor)
        step = step >> 2
    return edge


@triton.jit
def _draw(source, largest, inverse, edge, needed, goal, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Where the first kept logit is whose running weight passes `goal`; the last kept where rounding leaves none."""
    passed = tl.full([], 0.0, tl.float32)
    tied = tl.full([], 0, tl.int32)
    chosen = tl.full([], COUNT, tl.int32)
    last = tl.full([], 0, tl.int32)
    for at in range(0, COUNT, BLOCK):
        column = at + tl.arange(0, BLOCK)
        inside = column < COUNT
        values = tl.load(source + column, mask=inside, other=float("-inf"))
        order = _order(values)
        at_edge = (inside & (order == edge)).to(tl.int32)
        kept = inside & ((order > edge) | ((at_edge == 1) & (tied + tl.cumsum(at_edge, axis=0) <= needed)))
        weight = tl.where(kept, tl.exp((values - largest) * inverse), 0.0)
        running = passed + tl.cumsum(weight, axis=0)
        hit = tl.min(tl.where(kept & (running > goal), column, COUNT), axis=0)
        chosen = tl.minimum(chosen, hit)
        last = tl.maximum(last, tl.max(tl.where(weight > 0.0, column, 0), axis=0))
        passed += tl.sum(weight, axis=0)
        tied += tl.sum(at_edge, axis=0)
    return tl.where(chosen == COUNT, last, chosen)
