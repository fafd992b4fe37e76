"""Whether asking the small reference model first, and the large one where it was unsure, beats choosing before asking.

The signal is the mean log-probability of a greedy answer's tokens by the reference engine, transformers. Its threshold
is calibrated on questions of the fit split, by what calibrates the router; costs and harm are of the test split. The
large model's answer is taken to be as long as the small one's. The last line is JSON, described in docs/learning.md.
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.router.build import CHEAP, STRONG, outcomes, predicted_losses, read
from services.executor.sentence_encoder import SentenceEncoder
from services.router.artefact import load_artefact
from services.router.calibration import Calibration
from services.router.catalogue import load_catalogue
from services.router.predictor import Predictor

Rows = Sequence[Mapping[str, Any]]


def answered(folder: Path, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Tokens read, tokens written and mean log-probability of each greedy answer, [n, 3]."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
    for row, prompt in enumerate(prompts):
        message = {"role": "user", "content": prompt}
        ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
        by_length[len(ids)].append((row, ids))
    found = np.zeros((len(prompts), 3))
    for length, group in by_length.items():
        given = torch.tensor([ids for _, ids in group])
        with torch.inference_mode():
            mask = torch.ones_like(given)
            made = model.generate(given, attention_mask=mask, output_logits=True, return_dict_in_generate=True)
            written = made.sequences[:, length:]
            logits = torch.stack(made.logits, 1).log_softmax(-1)
        chosen = logits.gather(-1, written[..., None])[..., 0].numpy()
        for (row, _), tokens, said in zip(group, written.tolist(), chosen, strict=True):
            end = _length(tokens, model.generation_config.eos_token_id)
            found[row] = length, end, said[:end].mean()
    return found


def _length(tokens: Sequence[int], end: int) -> int:
    """Tokens up to and with the first `end`; all of them where the answer was cut off."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)


def totals(
    small: NDArray[np.bool_], asked_both: NDArray[np.bool_], harms: NDArray[np.bool_], costs: NDArray[np.float64]
) -> dict[str, float]:
    """What a policy gives on n prompts, as shares of what always asking the strong model costs.

    Args:
        small: whose answer is the small model's, [n].
        asked_both: where the strong model was asked after the small one, [n].
        harms: whether the small model is wrong where the strong one is right, [n].
        costs: of the small and the strong model, [n, 2].
    """
    spent = np.where(small | asked_both, costs[:, 0], 0) + np.where(small, 0, costs[:, 1])
    return {
        "cost": round(float(spent.sum() / costs[:, 1].sum()), 4),
        "harm": round(float((small & harms).mean()), 4),
        "strong_share": round(float((~small).mean()), 4),
    }


def _costs(lengths: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Nano-dollars of the small and the strong model for tokens read and written, [n, 2]."""
    prices = {model.name: model.price for model in load_catalogue(Path("deploy/catalogue.yaml"), None).models}
    priced = [price for name in (CHEAP, STRONG) if (price := prices[name])]
    return np.array([[price.cost_nano_usd(read, said, 0) for price in priced] for read, said in lengths], np.float64)


def _harms(rows: Rows) -> NDArray[np.bool_]:
    return np.array([row["scores"][CHEAP] < 0.5 <= row["scores"][STRONG] for row in rows])


def main() -> None:
    """Asks, calibrates and compares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--models", type=Path, default=Path("models"))
    arguments.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments.add_argument("--calibrated", type=int, default=3000, help="most rows of the fit split")
    arguments.add_argument("--max-quality-loss", type=float, default=0.02)
    options = arguments.parse_args()
    rows = read(options.models / "outcomes.jsonl.gz")
    every = np.random.default_rng(0).permutation([place for place, row in enumerate(rows) if row["split"] == "fit"])
    fit, test = [rows[i] for i in every[: options.calibrated]], [row for row in rows if row["split"] == "test"]
    found = answered(options.models / CHEAP, [row["prompt"] for row in [*fit, *test]])
    unsure = -found[:, 2].astype(np.float32)
    groups = np.unique([f"{row['domain']} {row['key']}" for row in fit], return_inverse=True)[1]
    calibration = Calibration((CHEAP,), unsure[: len(fit), None], _harms(fit)[:, None], groups)
    kept = unsure[len(fit) :] < calibration.threshold((CHEAP,), options.max_quality_loss, None)
    predictor = Predictor(load_artefact(options.models / "router" / "router.safetensors"))
    losses = predicted_losses(predictor, outcomes(test, SentenceEncoder(options.encoder, "fp32", threads=1)))
    sent = losses < predictor.calibration.threshold((CHEAP,), options.max_quality_loss, None)
    costs = _costs(found[len(fit) :, :2].astype(int).tolist())
    harms, nobody = _harms(test), np.zeros(len(test), np.bool_)
    told = {
        "router": totals(sent, nobody, harms, costs),
        "cascade": totals(kept, ~kept, harms, costs),
        "router_then_cascade": totals(sent & kept, sent & ~kept, harms, costs),
    }
    print(json.dumps({"calibrated": len(fit), "test": len(test), "bound": options.max_quality_loss, **told}))


if __name__ == "__main__":
    main()
