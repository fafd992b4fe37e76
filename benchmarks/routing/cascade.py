"""What asking the small reference model first saves over choosing before asking, and at which prices.

How sure it was is told by the mean log-probability of a greedy answer's tokens by the reference engine, transformers,
and by how many of three drawn answers agree with it. A router is fitted on a quarter of the questions; in each draw
half of the others calibrates it, alone and with `services/router/cascade.py`, by either signal and by the one that is
chosen, and all are held to the rest. What an answer of the small model costs is a share of the large one's, which is
varied. A line of JSON for each share is described in docs/learning.md.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.router.build import CHEAP, STRONG, outcomes, predicted_losses, read
from services.edge.repeating import LEAST_TEMPERATURE, agreeing
from services.executor.sentence_encoder import SentenceEncoder
from services.router.calibration import Calibration
from services.router.cascade import Cascade
from services.router.fit import Outcomes, Recipe, fit_artefact
from services.router.harm import harms
from services.router.predictor import Predictor
from services.router.risk import REPEATS
from services.router.unseen import at


def certainty(folder: Path, prompts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean log-probability of each greedy answer's tokens, and the share of repeats that agree with it, [n] each."""
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
    for row, prompt in enumerate(prompts):
        message = {"role": "user", "content": prompt}
        ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
        by_length[len(ids)].append((row, ids))
    found, agreements = np.zeros(len(prompts)), np.zeros(len(prompts))
    for length, group in by_length.items():
        given = torch.tensor([ids for _, ids in group])
        with torch.inference_mode():
            mask = torch.ones_like(given)
            made = model.generate(given, attention_mask=mask, output_logits=True, return_dict_in_generate=True)
            hot = {"do_sample": True, "temperature": LEAST_TEMPERATURE, "top_k": 0, "num_return_sequences": REPEATS}
            again = model.generate(given, attention_mask=mask, **hot)[:, length:]
            written = made.sequences[:, length:]
            logits = torch.stack(made.logits, 1).log_softmax(-1)
        chosen = logits.gather(-1, written[..., None])[..., 0].numpy()
        for (row, _), tokens, said in zip(group, written.tolist(), chosen, strict=True):
            found[row] = said[: _length(tokens, model.generation_config.eos_token_id)].mean()
        said, repeats = (tokenizer.batch_decode(one, skip_special_tokens=True) for one in (written, again))
        for place, (row, _) in enumerate(group):
            agreements[row] = agreeing(said[place], repeats[place * REPEATS : (place + 1) * REPEATS]) / REPEATS
    return found, agreements


def _length(tokens: Sequence[int], end: int) -> int:
    """Tokens up to and with the first `end`; all of them where the answer was cut off."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)


def totals(
    small: NDArray[np.bool_], asked: NDArray[np.bool_], harmed: NDArray[np.bool_], cost_ratio: float, answers: int = 1
) -> dict[str, float]:
    """What a policy gives on n prompts; costs are shares of what always asking the strong model costs.

    Args:
        small: whose answer is the small model's, [n].
        asked: where the small model was asked first, [n].
        harmed: whether the small model is worse than the strong one, [n].
        cost_ratio: what the small model's answer costs, as a share of the strong one's.
        answers: that it is asked for where it is asked first.
    """
    spent = cost_ratio * (np.where(asked, answers, small)) + ~small
    return {"cost": float(spent.mean()), "harm": float((small & harmed).mean()), "strong_share": float((~small).mean())}


def drawn(rows: Outcomes, losses: NDArray[np.float64], seed: int, bound: float, cost_ratio: float) -> dict[str, float]:
    """One draw: both policies calibrated on half of the questions and held to the others."""
    calibrated, held = next(
        GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(losses, groups=np.asarray(rows.groups))
    )
    harmed = harms(rows.scores[CHEAP], rows.scores[STRONG])
    groups = np.unique(rows.groups, return_inverse=True)[1][calibrated]
    known = losses[calibrated, None].astype(np.float32), harmed[calibrated, None], groups
    sent = losses[held] < Calibration((CHEAP,), *known).threshold((CHEAP,), bound, None)
    nobody = np.zeros(len(held), np.bool_)
    alone = totals(sent, nobody, harmed[held], cost_ratio)
    signals = [(rows.mean_logprobs[CHEAP], 0), (rows.agreements[CHEAP], REPEATS)]
    pairs = [Cascade(CHEAP, (CHEAP,), *known, sure[calibrated], cost_ratio, more) for sure, more in signals]
    best = max((0, 1), key=lambda one: pairs[one].expected_saving((CHEAP,), bound, None))
    found = _named(alone, "router") | {"repeats": float(best == 1)}
    for name, place in (("probabilities", 0), ("agreement", 1), ("pair", best)):
        saves = pairs[place].saves((CHEAP,), bound, None, True, {CHEAP: cost_ratio})
        both = _held(pairs[place], signals[place][0][held], losses[held], harmed[held], bound, cost_ratio)
        found |= _named(both if saves else alone, name) | {f"{name}.chosen": float(saves)}
    return found


def _held(
    pair: Cascade,
    sure: NDArray[np.float64],
    losses: NDArray[np.float64],
    harmed: NDArray[np.bool_],
    bound: float,
    cost_ratio: float,
) -> dict[str, float]:
    """What both steps give on questions that did not calibrate them."""
    threshold = pair.threshold((CHEAP,), bound, None)
    checks = [pair.check(loss, threshold, cost_ratio) for loss in losses]
    asked = np.array([check is not None for check in checks]) & (losses >= threshold)
    risks = [check.risk_of(one) if check else np.inf for check, one in zip(checks, sure.tolist(), strict=True)]
    kept = asked & (np.array(risks) < threshold)
    return totals((losses < threshold) | kept, asked, harmed, cost_ratio, 1 + pair.repeats)


def _named(figures: Mapping[str, float], policy: str) -> dict[str, float]:
    return {f"{policy}.{name}": figure for name, figure in figures.items()}


def main() -> None:
    """Asks, fits, calibrates and compares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--models", type=Path, default=Path("models"))
    arguments.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments.add_argument("--cost-ratios", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2, 0.4])
    arguments.add_argument("--max-quality-loss", type=float, nargs="+", default=[0.02, 0.05])
    arguments.add_argument("--draws", type=int, default=20)
    options = arguments.parse_args()
    rows = read(options.models / "outcomes.jsonl.gz")
    encoder = SentenceEncoder(options.encoder, "fp32", threads=1)
    every = outcomes(rows, encoder)
    sure, agreements = certainty(options.models / CHEAP, every.prompts)
    every = replace(every, mean_logprobs={CHEAP: sure}, agreements={CHEAP: agreements})
    split = GroupShuffleSplit(1, test_size=0.75, random_state=0)
    fitted, others = (at(every, places) for places in next(split.split(sure, groups=np.asarray(every.groups))))
    predictor = Predictor(fit_artefact(fitted, STRONG, encoder.digest, Recipe(calibration_share=0.02)))
    losses = predicted_losses(predictor, others)
    for bound, ratio in product(options.max_quality_loss, options.cost_ratios):
        found = [drawn(others, losses, seed, bound, ratio) for seed in range(options.draws)]
        figures = {
            name: [round(float(f([one[name] for one in found])), 4) for f in (np.mean, np.std)] for name in found[0]
        }
        print(json.dumps({"cost_ratio": ratio, "bound": bound, "draws": options.draws, **figures}))


if __name__ == "__main__":
    main()
