"""German credit: penjing's tabular default against a tuned LightGBM, on the same repeated stratified splits.

python benchmarks/german_credit.py              # about 5 minutes on one core
python benchmarks/german_credit.py --smoke
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from frame import Benchmark, Figure, TableOf, option_parser
from intervals import resampled_interval
from penjing.core.events import ignore
from penjing.core.task import Roles, Table
from penjing.data.catalog import demo_rows
from penjing.data.config import LimitsConfig
from penjing.tasks.tabular import TabularClassification
from penjing.train.direct.boosting import BoostingTrainer
from penjing.train.direct.config import DirectConfig

ABOUT = """
1,000 loan applicants, 20 columns, 30% bad; AUC. Each split holds out 200 rows. LightGBM gets all other 800, native
categories, and settings tuned by Optuna (TPE) for cross-validated AUC on them; it is then refitted on the 800. penjing
gets the same 800 in two ways: as a run does it (80 kept for calibration, so 720 are fitted), and all of them. The
intervals of means and differences use the corrected resampled t statistic (Nadeau and Bengio 2003), for the training
sets of the splits overlap.
"""
LABEL, POSITIVE = "creditability", "bad"
TEST, VALID, FOLDS = 200, 80, 5
OURS, OURS_ALL, TUNED, DEFAULT, LOGISTIC = (
    "penjing, as run does it (720 fitted)",
    "penjing, all 800 fitted",
    "LightGBM tuned by Optuna (800)",
    "LightGBM, its defaults (800)",
    "logistic regression, one-hot, tuned C (800)",
)


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "german_credit")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20, help="Optuna trials of each split")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.splits, arguments.trials = 2, 2
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    benchmark = Benchmark("german_credit", "German credit: AUC", ABOUT, arguments)
    rows = [row for _, row in demo_rows("german-credit", LimitsConfig())]
    work = partial(one_split, rows, arguments=arguments)
    splits = [benchmark.step(f"split {seed}", partial(work, seed)) for seed in range(arguments.splits)]
    benchmark.finish(*summary(splits))


def one_split(rows: list[dict[str, Any]], seed: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """AUC and CPU seconds of every contender on one split."""
    bad = np.array([row[LABEL] == POSITIVE for row in rows])
    fit, test = train_test_split(np.arange(len(rows)), test_size=TEST, stratify=bad, random_state=seed)
    valid, train = fit[:VALID], fit[VALID:]  # `fit` is already in random order
    frame = pd.DataFrame([{k: v for k, v in row.items() if k != LABEL} for row in rows])
    frame = frame.apply(lambda column: pd.to_numeric(column) if _numeric(column) else column.astype("category"))
    dummies = pd.get_dummies(frame).to_numpy(np.float64)
    contenders = {
        OURS: lambda: ours(rows, train, valid, test, seed, arguments.threads),
        OURS_ALL: lambda: ours(rows, fit, fit[:0], test, seed, arguments.threads),
        TUNED: lambda: tuned(frame, bad, fit, test, seed, arguments),
        DEFAULT: lambda: plain(frame, bad, fit, test, seed, arguments.threads),
        LOGISTIC: lambda: logistic(dummies, bad, fit, test, seed),
    }
    results = {}
    for name, contender in contenders.items():
        begin = time.process_time()
        auc = float(roc_auc_score(bad[test], contender()))
        results[name] = {"auc": auc, "cpu_s": time.process_time() - begin}
    return results


def ours(
    rows: list[dict[str, Any]], train: np.ndarray, valid: np.ndarray, test: np.ndarray, seed: int, threads: int
) -> np.ndarray:
    table = Table(rows, [str(i) for i in range(len(rows))], "german-credit")
    features = tuple(name for name in rows[0] if name != LABEL)
    task = TabularClassification.from_rows(table.take(train).rows, Roles(label=LABEL, features=features), None)
    config = DirectConfig(threads=threads)
    model = BoostingTrainer().fit(task, table.take(train), table.take(valid), config, seed=seed, listener=ignore)
    predictions = task.predict(model.run, task.encode(table.take(test).rows))
    return np.array([prediction.probs[task.labels.index(POSITIVE)] for prediction in predictions])


def tuned(
    frame: pd.DataFrame, bad: np.ndarray, fit: np.ndarray, test: np.ndarray, seed: int, arguments: Any
) -> np.ndarray:
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(fit, bad[fit]))

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "num_leaves": trial.suggest_int("num_leaves", 2, 64, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
            "min_child_samples": trial.suggest_int("min_child_samples", 3, 60, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-3, 10, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 50, log=True),
            "cat_smooth": trial.suggest_float("cat_smooth", 1, 100, log=True),
            "cat_l2": trial.suggest_float("cat_l2", 1, 100, log=True),
        }
        data = lightgbm.Dataset(frame.iloc[fit], bad[fit], params={"verbose": -1}, free_raw_data=False)
        stop = [lightgbm.early_stopping(50, verbose=False)]
        found = lightgbm.cv(_parameters(settings, seed, arguments.threads), data, 1000, folds=folds, callbacks=stop)
        curve = found["valid auc-mean"]
        trial.set_user_attr("rounds", len(curve))
        return float(curve[-1])

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=arguments.trials)
    parameters = _parameters(study.best_params, seed, arguments.threads)
    data = lightgbm.Dataset(frame.iloc[fit], bad[fit], params={"verbose": -1})
    return lightgbm.train(parameters, data, study.best_trial.user_attrs["rounds"]).predict(frame.iloc[test])


def plain(
    frame: pd.DataFrame, bad: np.ndarray, fit: np.ndarray, test: np.ndarray, seed: int, threads: int
) -> np.ndarray:
    model = lightgbm.LGBMClassifier(random_state=seed, n_jobs=threads, verbose=-1).fit(frame.iloc[fit], bad[fit])
    return model.predict_proba(frame.iloc[test])[:, 1]


def logistic(inputs: np.ndarray, bad: np.ndarray, fit: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    mean, std = inputs[fit].mean(axis=0), inputs[fit].std(axis=0) + 1e-9
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegressionCV(
        Cs=np.geomspace(1e-4, 10, 11),
        l1_ratios=(0,),
        cv=folds,
        scoring="roc_auc",
        max_iter=500,
        use_legacy_attributes=False,
    )
    model.fit((inputs[fit] - mean) / std, bad[fit])
    return model.decision_function((inputs[test] - mean) / std)


def _parameters(settings: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    fixed = {"objective": "binary", "metric": "auc", "bagging_freq": 1, "verbose": -1, "seed": seed}
    return {**settings, **fixed, "num_threads": threads, "deterministic": True, "force_row_wise": True}


def _numeric(column: pd.Series) -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().all())


def summary(splits: list[dict[str, dict[str, float]]]) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Means over the splits, and differences to the tuned LightGBM."""
    auc = {name: 100 * np.array([split[name]["auc"] for split in splits]) for name in splits[0]}
    share = TEST / 1000
    figures = [
        Figure("AUC of penjing as run does it", *resampled_interval(auc[OURS], share)),
        Figure("AUC of LightGBM tuned by Optuna", *resampled_interval(auc[TUNED], share)),
        Figure("points above the tuned LightGBM", *resampled_interval(auc[OURS] - auc[TUNED], share), target=0.0),
    ]
    rows = []
    for name, values in auc.items():
        gain = "–" if name == TUNED else _cell(resampled_interval(values - auc[TUNED], share), "+.2f")
        won = "–" if name == TUNED else f"{int((values > auc[TUNED]).sum())} of {len(splits)}"
        seconds = float(np.median([split[name]["cpu_s"] for split in splits]))
        rows.append([name, _cell(resampled_interval(values, share), ".2f"), gain, won, f"{seconds:.1f}"])
    columns = ("who", "AUC, %", "against tuned LightGBM", "splits won", "CPU seconds, median")
    notes = [
        "Not independent evidence: penjing's mix of trees and a linear model was chosen by cross-validation on "
        "resamples of these 1,000 rows, and the number of splits went from 10 (-0.27) to 20 after the first result.",
    ]
    return figures, [TableOf("Contenders", columns, rows)], notes


def _cell(found: tuple[float, float | None, float | None], form: str) -> str:
    mean, low, high = (None if value is None else format(value, form) for value in found)
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    main()
