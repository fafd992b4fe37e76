"""What asking the small reference model first saves over choosing before asking, and at which prices.

How sure it was is the mean log-probability of a greedy answer's tokens by the reference engine, transformers. A router
is fitted on a quarter of the questions; in each draw half of the others calibrates it, alone and with
`services/router/cascade.py`, and both are held to the rest. What an answer of the small model costs is a share of the
large one's, which is varied. A line of JSON for each share is described in docs/learning.md.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.router.build import CHEAP, STRONG, outcomes, predicted_losses, read
from services.executor.sentence_encoder import SentenceEncoder
from services.router.calibration import Calibration
from services.router.cascade import Cascade
from services.router.fit import Outcomes, Recipe, fit_artefact
from services.router.harm import harms
from services.router.predictor import Predictor


def certainty(folder: Path, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Mean log-probability of each greedy answer's tokens, [n]."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
    for row, prompt in enumerate(prompts):
        message = {"role": "user", "content": prompt}
        ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
        by_length[len(ids)].append((row, ids))
    found = np.zeros(len(prompts))
    for length, group in by_length.items():
        given = torch.tensor([ids for _, ids in group])
        with torch.inference_mode():
            mask = torch.ones_like(given)
            made = model.generate(given, attention_mask=mask, output_logits=True, return_dict_in_generate=True)
            written = made.sequences[:, length:]
            logits = torch.stack(made.logits, 1).log_softmax(-1)
        chosen = logits.gather(-1, written[..., None])[..., 0].numpy()
        for (row, _), tokens, said in zip(group, written.tolist(), chosen, strict=True):
            found[row] = said[: _length(tokens, model.generation_config.eos_token_id)].mean()
    return found


def _length(tokens: Sequence[int], end: int) -> int:
    """Tokens up to and with the first `end`; all of them where the answer was cut off."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)


def totals(
    small: NDArray[np.bool_], asked_both: NDArray[np.bool_], harmed: NDArray[np.bool_], cost_ratio: float
) -> dict[str, float]:
    """What a policy gives on n prompts; costs are shares of what always asking the strong model costs.

    Args:
        small: whose answer is the small model's, [n].
        asked_both: where the strong model was asked after the small one, [n].
        harmed: whether the small model is worse than the strong one, [n].
        cost_ratio: what the small model's answer costs, as a share of the strong one's.
    """
    spent = np.where(small | asked_both, cost_ratio, 0) + ~small
    return {"cost": float(spent.mean()), "harm": float((small & harmed).mean()), "strong_share": float((~small).mean())}


def drawn(rows: Outcomes, losses: NDArray[np.float64], seed: int, bound: float, cost_ratio: float) -> dict[str, float]:
    """One draw: both policies calibrated on half of the questions and held to the others."""
    calibrated, held = next(
        GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(losses, groups=np.asarray(rows.groups))
    )
    harmed, sure = harms(rows.scores[CHEAP], rows.scores[STRONG]), rows.mean_logprobs[CHEAP]
    groups = np.unique(rows.groups, return_inverse=True)[1][calibrated]
    known = losses[calibrated, None].astype(np.float32), harmed[calibrated, None], groups
    sent = losses[held] < Calibration((CHEAP,), *known).threshold((CHEAP,), bound, None)
    nobody = np.zeros(len(held), np.bool_)
    alone = totals(sent, nobody, harmed[held], cost_ratio)
    pair = Cascade(CHEAP, (CHEAP,), *known, sure[calibrated], cost_ratio)
    if not pair.saves((CHEAP,), bound, None, True, {CHEAP: cost_ratio}):
        return _named(alone, "router") | _named(alone, "pair") | {"chosen": 0.0}
    threshold = pair.threshold((CHEAP,), bound, None)
    checks = [pair.check(loss, threshold, cost_ratio) for loss in losses[held]]
    asked = np.array([check is not None for check in checks]) & (losses[held] >= threshold)
    risks = [check.risk_of(one) if check else np.inf for check, one in zip(checks, sure[held].tolist(), strict=True)]
    kept = asked & (np.array(risks) < threshold)
    both = totals((losses[held] < threshold) | kept, asked & ~kept, harmed[held], cost_ratio)
    return _named(alone, "router") | _named(both, "pair") | {"chosen": 1.0}


def _named(figures: Mapping[str, float], policy: str) -> dict[str, float]:
    return {f"{policy}.{name}": figure for name, figure in figures.items()}


def main() -> None:
    """Asks, fits, calibrates and compares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--models", type=Path, default=Path("models"))
    arguments.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments.add_argument("--cost-ratios", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2, 0.4])
    arguments.add_argument("--max-quality-loss", type=float, default=0.02)
    arguments.add_argument("--draws", type=int, default=20)
    options = arguments.parse_args()
    rows = read(options.models / "outcomes.jsonl.gz")
    encoder = SentenceEncoder(options.encoder, "fp32", threads=1)
    every = outcomes(rows, encoder)
    sure = certainty(options.models / CHEAP, every.prompts)
    split = GroupShuffleSplit(1, test_size=0.75, random_state=0)
    fitted, others = (_at(every, sure, places) for places in next(split.split(sure, groups=np.asarray(every.groups))))
    predictor = Predictor(fit_artefact(fitted, STRONG, encoder.digest, Recipe(calibration_share=0.02)))
    losses = predicted_losses(predictor, others)
    for ratio in options.cost_ratios:
        found = [drawn(others, losses, seed, options.max_quality_loss, ratio) for seed in range(options.draws)]
        figures = {
            name: [round(float(f([one[name] for one in found])), 4) for f in (np.mean, np.std)] for name in found[0]
        }
        print(json.dumps({"cost_ratio": ratio, "bound": options.max_quality_loss, "draws": options.draws, **figures}))


def _at(every: Outcomes, sure: NDArray[np.float64], places: NDArray[np.intp]) -> Outcomes:
    return Outcomes(
        prompts=[every.prompts[place] for place in places],
        embeddings=every.embeddings[places],
        scores={model: scores[places] for model, scores in every.scores.items()},
        groups=[every.groups[place] for place in places],
        domains=[every.domains[place] for place in places],
        mean_logprobs={CHEAP: sure[places]},
    )


if __name__ == "__main__":
    main()
