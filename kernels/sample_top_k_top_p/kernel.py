"""Draws the next token on the GPU, so that a row's logits need not cross to the host: no sort, a search over bits."""

import triton
import triton.language as tl


@triton.jit
def sample_top_k_top_p(
    logits, temperature, top_k, top_p, uniform, token,
    VOCABULARY: tl.constexpr, ROW_STRIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program takes one row: the `top_k` likeliest (0: all), of these the fewest whose share reaches `top_p`.

    Ties go to the lower token. The draw is the first token, in order of ids, whose running share of what is kept passes
    `uniform`. A temperature of 0 takes the likeliest.
    """
    row = tl.program_id(0).to(tl.int64)
    source = logits + row * ROW_STRIDE
    heat = tl.load(temperature + row)
    if heat <= 0.0:
        chosen = _likeliest(source, VOCABULARY, BLOCK)
    else:
        limits = tl.load(top_k + row), tl.load(top_p + row)
        chosen = _drawn(source, 1.0 / heat, limits, tl.load(uniform + row), VOCABULARY, BLOCK)
    tl.store(token + row, chosen)


@triton.jit
def _likeliest(source, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """One pass: each place of a block keeps its largest and where it was."""
    found = tl.full([BLOCK], float("-inf"), tl.float32)
    where = tl.arange(0, BLOCK)
    for at in range(0, VOCABULARY, BLOCK):
        column = at + tl.arange(0, BLOCK)
        values = tl.load(source + column, mask=column < VOCABULARY, other=float("-inf"))
        where = tl.where(values > found, column, where)
        found = tl.maximum(found, values)
    return tl.min(tl.where(found == tl.max(found, axis=0), where, VOCABULARY), axis=0)


@triton.jit
def _drawn(source, inverse, limits, uniform, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    top_k, top_p = limits
    asked = tl.where((top_k <= 0) | (top_k > VOCABULARY), VOCABULARY, top_k)
    largest = _largest(source, VOCABULARY, BLOCK)

    least = tl.full([], 0, tl.uint32)
    if asked < VOCABULARY:
        least = _search(source, largest, inverse, asked.to(tl.float32), least, VOCABULARY, BLOCK, False)
    above, mass_above, weight = _measure(source, largest, inverse, least, VOCABULARY, BLOCK)
    ties = asked - above
    edge, before = least, mass_above
    goal = top_p * (mass_above + ties * weight)
    if goal <= mass_above:
        edge = _search(source, largest, inverse, goal, least, VOCABULARY, BLOCK, True)
        _, before, weight = _measure(source, largest, inverse, edge, VOCABULARY, BLOCK)
    needed = tl.where(weight > 0.0, tl.ceil((goal - before) / tl.where(weight > 0.0, weight, 1.0)), 1.0)
    needed = tl.maximum(needed, 1.0).to(tl.int32)
    needed = tl.where(edge == least, tl.minimum(needed, ties), needed)
    kept = before + needed * weight
    return _draw(source, largest, inverse, edge, needed, uniform * kept, VOCABULARY, BLOCK)


@triton.jit
def _order(values):
    """A number of 32 bits, never negative, that grows with a float."""
    bits = values.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits ^ (-2147483648)).to(tl.uint32, bitcast=True)


@triton.jit
def _largest(source, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    found = tl.full([BLOCK], float("-inf"), tl.float32)
    for at in range(0, VOCABULARY, BLOCK):
        column = at + tl.arange(0, BLOCK)
        found = tl.maximum(found, tl.load(source + column, mask=column < VOCABULARY, other=float("-inf")))
    return tl.max(found, axis=0)


@triton.jit
def _measure(source, largest, inverse, edge, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """How many logits lie above `edge`, their weights' sum, and the weight of those at it."""
    count = tl.zeros([BLOCK], tl.int32)
    mass = tl.zeros([BLOCK], tl.float32)
    at_edge = tl.zeros([BLOCK], tl.float32)
    for at in range(0, VOCABULARY, BLOCK):
        column = at + tl.arange(0, BLOCK)
        inside = column < VOCABULARY
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
    VOCABULARY: tl.constexpr, BLOCK: tl.constexpr, BY_MASS: tl.constexpr,
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
        for at in range(0, VOCABULARY, BLOCK):
            column = at + tl.arange(0, BLOCK)
            inside = column < VOCABULARY
            values = tl.load(source + column, mask=inside, other=float("-inf"))
            order = tl.where(inside, _order(values), 0)
            worth = tl.exp((values - largest) * inverse) if BY_MASS else 1.0
            at_low += tl.where(order >= low, worth, 0.0)
            at_middle += tl.where(order >= middle, worth, 0.0)
            at_high += tl.where(order >= high, worth, 0.0)
        edge = tl.where((tl.sum(at_low, axis=0) >= goal) | (low <= floor), low, edge)
        edge = tl.where((tl.sum(at_middle, axis=0) >= goal) | (middle <= floor), middle, edge)
        edge = tl.where((tl.sum(at_high, axis=0) >= goal) | (high <= floor), high, edge)
        step = step >> 2
    return edge


@triton.jit
def _draw(source, largest, inverse, edge, needed, goal, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    """The first kept token whose running weight passes `goal`; the last kept one where rounding leaves none."""
    passed = tl.full([], 0.0, tl.float32)
    tied = tl.full([], 0, tl.int32)
    chosen = tl.full([], VOCABULARY, tl.int32)
    last = tl.full([], 0, tl.int32)
    for at in range(0, VOCABULARY, BLOCK):
        column = at + tl.arange(0, BLOCK)
        inside = column < VOCABULARY
        values = tl.load(source + column, mask=inside, other=float("-inf"))
        order = _order(values)
        at_edge = (inside & (order == edge)).to(tl.int32)
        kept = inside & ((order > edge) | ((at_edge == 1) & (tied + tl.cumsum(at_edge, axis=0) <= needed)))
        weight = tl.where(kept, tl.exp((values - largest) * inverse), 0.0)
        running = passed + tl.cumsum(weight, axis=0)
        hit = tl.min(tl.where(kept & (running > goal), column, VOCABULARY), axis=0)
        chosen = tl.minimum(chosen, hit)
        last = tl.maximum(last, tl.max(tl.where(kept, column, 0), axis=0))
        passed += tl.sum(weight, axis=0)
        tied += tl.sum(at_edge, axis=0)
    return tl.where(chosen == VOCABULARY, last, chosen)
