"""The ensemble learns what is there, from few outcomes and from others' outcomes, and knows specialists by evidence."""

import numpy as np
from numpy.typing import NDArray

from services.router.ensemble import fit_ensemble
from services.router.kernel import fit_machine, left_out
from services.router.prior import without_heads
from services.router.prior_fit import Source, fit_prior


def prompts(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(rows, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings, rng.normal(size=(rows, 3)).astype(np.float32)


def test_learns_targets_that_depend_on_the_prompt() -> None:
    """Targets that follow the embedding and a lexical feature are predicted on prompts not fitted, one target each."""
    embeddings, lexical = prompts(500, 0)
    targets = np.stack([embeddings[:, 0], lexical[:, 1]], axis=1).astype(np.float64)
    near = embeddings[:400], lexical[:400]
    ensemble, _ = fit_ensemble(without_heads(*near), *near, targets[:400], [""] * 400, 0)
    found = ensemble.predict(embeddings[400:], lexical[400:])
    assert found.shape == (100, 2)
    for column in range(2):
        assert np.corrcoef(found[:, column], targets[400:, column])[0, 1] > 0.8


def test_one_prompt_is_predicted_as_in_a_batch() -> None:
    """A decision about one prompt is what many at once give."""
    near = prompts(100, 0)
    ensemble, _ = fit_ensemble(without_heads(*near), *near, near[0][:, :2].astype(np.float64), ["a", "b"] * 50, 2)
    together = ensemble.predict(*near)
    np.testing.assert_allclose(ensemble.predict(near[0][7], near[1][7]), together[7], atol=1e-5)


def test_a_line_counts_a_fifth() -> None:
    """What is expected is four fifths of the machine's and a fifth of the line's through facts alone."""
    near = prompts(200, 11)
    targets = near[1][:, :1].astype(np.float64) ** 2 + near[1][:, 1:2]
    ensemble, _ = fit_ensemble(without_heads(*near), *near, targets, [""] * 200, 0)
    points = ensemble.points(*near)
    machine = fit_machine(points, targets, 3.0, points, straight=3)
    line = fit_machine(points, targets, 12.0, points[:0], straight=3)
    mean = 0.8 * machine.predict(points) + 0.2 * line.predict(points)
    np.testing.assert_allclose(ensemble.predict(*near), mean, atol=1e-3)


def test_missing_scores_teach_nothing() -> None:
    """A target that was observed on half of the prompts is learned from that half alone."""
    embeddings, lexical = prompts(300, 1)
    targets = np.stack([embeddings[:, 0], embeddings[:, 0]], axis=1).astype(np.float64)
    targets[150:, 1] = np.nan
    near = embeddings, lexical
    whole, _ = fit_ensemble(without_heads(*near), *near, targets, [""] * 300, 0)
    found = whole.predict(embeddings[150:], lexical[150:])
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:, 1], embeddings[150:, 0])[0, 1] > 0.7


def test_a_prior_helps_where_labels_are_few() -> None:
    """What decides was seen in other outcomes: with 60 labels the prior predicts better than without one."""
    rng = np.random.default_rng(2)
    embeddings, lexical = prompts(2000, 3)
    hard = embeddings[:, 0] * embeddings[:, 1] * 6 + lexical[:, 0] / 2
    scores = (rng.normal(size=(1500, 6)) / 2 > hard[:1500, None]).astype(np.float64)
    prior = fit_prior([Source(embeddings[:1500], lexical[:1500], scores)], landmarks=400)
    target = (rng.normal(size=2000) / 2 > hard).astype(np.float64)[:, None]
    near, asked = (embeddings[1500:1560], lexical[1500:1560]), (embeddings[1560:], lexical[1560:])
    found = [
        fit_ensemble(one, *near, target[1500:1560], [""] * 60, 1)[0].predict(*asked)[:, 0]
        for one in (prior, without_heads(*near))
    ]
    helped, alone = (np.corrcoef(one, -hard[1560:])[0, 1] for one in found)
    assert helped > alone + 0.1


def test_few_landmarks_of_a_prior_say_what_many_do() -> None:
    """A prior of two sources on 60 landmarks has the heads that it has on all 900 prompts, nearly."""
    rng = np.random.default_rng(7)
    embeddings, lexical = prompts(900, 8)
    hard = embeddings[:, 0] * 2 + lexical[:, 0] / 2
    scores = (rng.normal(size=(900, 6)) / 2 > hard[:, None]).astype(np.float64)
    sources = [Source(embeddings[rows], lexical[rows], scores[rows]) for rows in (slice(500), slice(500, 900))]
    few, many = (fit_prior(sources, landmarks=count) for count in (60, 900))
    assert len(few.landmarks) == 60
    asked = prompts(200, 9)
    said, known = (one.heads(one.projected(asked[0]), asked[1]) for one in (few, many))
    for head in range(0, said.shape[1], 5):  # each source's strongest models
        assert np.corrcoef(said[:, head], known[:, head])[0, 1] > 0.95


def test_what_holds_everywhere_holds_far_from_what_was_fitted() -> None:
    """A trend goes on where no landmark is near; without the linear kernel the mean is said there."""
    rng = np.random.default_rng(10)
    points = rng.normal(size=(300, 2)).astype(np.float32)
    outputs = points[:, :1].astype(np.float64)
    far = np.array([[8, 0], [-8, 0]], np.float32)
    sloped = fit_machine(points, outputs, 1.0, points, straight=2).predict(far)[:, 0]
    flat = fit_machine(points, outputs, 1.0, points).predict(far)[:, 0]
    assert sloped[0] > 3
    assert sloped[1] < -3
    np.testing.assert_allclose(flat, outputs.mean(), atol=0.1)


def test_a_specialist_wins_on_its_domain() -> None:
    """Two models, each right in one domain of two: each is expected to be better there, and the domain is told."""
    rng = np.random.default_rng(4)
    law = rng.uniform(size=400) < 0.5
    embeddings, lexical = prompts(400, 5)
    embeddings[:, 0] += np.where(law, 1.5, -1.5)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = np.stack([law, ~law], axis=1).astype(np.float64)
    near = embeddings[:300], lexical[:300]
    domains = ["law" if one else "maths" for one in law[:300]]
    ensemble, named = fit_ensemble(without_heads(*near), *near, scores[:300], domains, 2)
    assert named == ["law", "maths"]
    found, chances, _ = ensemble.predict_with_landmarks(embeddings[300:], lexical[300:])
    assert ((found[:, 0] > found[:, 1]) == law[300:]).mean() > 0.9
    assert ((chances.argmax(axis=1) == 0) == law[300:]).mean() > 0.9


def test_left_out_predictions_are_those_of_a_fit_without_the_fold() -> None:
    """With every row a landmark the closed form is what fitting again without three rows gives, nearly."""
    embeddings, _ = prompts(60, 6)
    outputs = embeddings[:, :1].astype(np.float64)
    whole = fit_machine(embeddings, outputs, 1.0, embeddings, straight=2)
    apart = left_out(whole, embeddings, outputs, 1.0, np.arange(60) % 20)
    kept = np.flatnonzero(np.arange(60) % 20 != 5)
    without = fit_machine(embeddings[kept], outputs[kept], 1.0, embeddings[kept], straight=2)
    np.testing.assert_allclose(apart[5::20, 0], without.predict(embeddings[5::20])[:, 0], atol=0.03)


def test_half_of_many_prompts_are_landmarks() -> None:
    """All of few are; then 512, half of them, and 1,024 at most."""
    rng = np.random.default_rng(12)
    for count, landmarks in ((300, 300), (900, 512), (1200, 600), (2300, 1024)):
        embeddings, lexical = prompts(count, 13)
        scores = rng.uniform(size=(count, 1))
        near = embeddings, lexical
        ensemble, _ = fit_ensemble(without_heads(*near), *near, scores, ["one"] * count, 1)
        assert len(ensemble.landmarks) == landmarks
