#!/usr/bin/env python3
"""Writes crates/detect/tests/golden/models.json: what scikit-learn and hmmlearn say of small synthetic data.

Run with scikit-learn 1.9 and hmmlearn 0.3 installed (`pip install scikit-learn hmmlearn`); the data has fixed seeds.
"""

import json
import pathlib

import numpy as np
from hmmlearn.hmm import GaussianHMM
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

TARGET = pathlib.Path(__file__).parents[2] / "crates/detect/tests/golden/models.json"


def rounded(values, digits=10):
    return np.round(np.asarray(values, dtype=float), digits).tolist()


def outlier_data():
    """300 rows of a correlated cloud with a heavy-tailed and a discrete column, then 60 rows with outliers."""
    rng = np.random.default_rng(1)
    def rows(n):
        base = rng.normal(size=n)
        return np.column_stack([
            base + 0.3 * rng.normal(size=n),
            2 * base + rng.normal(size=n),
            rng.exponential(size=n),
            rng.poisson(3, size=n).astype(float),
        ])
    train, test = rows(300), rows(60)
    test[40:] += rng.normal(scale=4, size=(20, 4))
    return np.round(train, 4), np.round(test, 4)


def forest(train, test):
    # The mean of ten seeds: what the random trees agree on.
    models = [IsolationForest(n_estimators=100, max_samples=256, contamination=0.1, random_state=seed).fit(train)
              for seed in range(10)]
    return {
        "scores": rounded(-np.mean([m.score_samples(test) for m in models], axis=0)),
        "train_scores": rounded(-np.mean([m.score_samples(train) for m in models], axis=0)),
        "offset": float(-np.mean([m.offset_ for m in models])),
    }


def svm(train, test):
    cases = []
    for nu, gamma in [(0.05, "scale"), (0.2, 0.1)]:
        model = OneClassSVM(nu=nu, gamma=gamma, tol=1e-8).fit(train)
        cases.append({"nu": nu, "gamma": None if gamma == "scale" else gamma,
                      "scores": rounded(-model.decision_function(test)), "support": int(len(model.support_))})
    return cases


def hmm():
    rng = np.random.default_rng(2)
    state, rows = 0, []
    for _ in range(400):
        if rng.random() < (0.03, 0.1, 0.2)[state]:
            state = int(rng.integers(3))
        level = (0.0, 2.5, 6.0)[state]
        rows.append([level + rng.normal(), 0.5 * level + 0.7 * rng.normal(), rng.normal()])
    rows = np.round(np.array(rows), 4)
    start = {
        "start": [0.4, 0.35, 0.25],
        "transitions": [[0.8, 0.1, 0.1], [0.15, 0.75, 0.1], [0.1, 0.2, 0.7]],
        "means": [[-0.5, 0.1, 0.0], [2.0, 1.0, 0.1], [5.0, 2.0, -0.1]],
        "variances": [[1.5, 1.0, 1.0], [1.2, 0.8, 1.0], [2.0, 1.0, 1.5]],
    }
    def model(iterations):
        made = GaussianHMM(n_components=3, covariance_type="diag", init_params="", params="stmc",
                           n_iter=iterations, tol=-np.inf, min_covar=1e-6)
        made.startprob_ = np.array(start["start"])
        made.transmat_ = np.array(start["transitions"])
        made.means_ = np.array(start["means"])
        made.covars_ = np.array(start["variances"])
        return made
    before, learnt = model(1), model(20)
    start_likelihood = before.score(rows)
    start_posteriors = before.predict_proba(rows)
    learnt.fit(rows)
    # The filtered state of a prefix is the smoothed state of its last row.
    filtered = [learnt.predict_proba(rows[: n + 1])[-1].tolist() for n in range(0, 400, 10)]
    return {
        "rows": rows.tolist(), "from": start, "iterations": 20, "variance_prior": 0.01,
        "start_log_likelihood": float(start_likelihood), "start_posteriors": rounded(start_posteriors[::20]),
        "history": rounded(list(learnt.monitor_.history), 8) if len(learnt.monitor_.history) < 30 else [],
        "log_likelihood": float(learnt.score(rows)),
        "start": rounded(learnt.startprob_), "transitions": rounded(learnt.transmat_), "means": rounded(learnt.means_),
        "variances": rounded([np.diag(c) for c in learnt.covars_]),
        "viterbi": learnt.predict(rows).tolist(), "filtered": rounded(filtered),
    }


def main():
    train, test = outlier_data()
    golden = {
        "train": train.tolist(), "test": test.tolist(),
        "forest": forest(train, test), "svm": svm(train, test), "hmm": hmm(),
    }
    TARGET.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
