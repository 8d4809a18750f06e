"""German credit: penjing's tabular default against a tuned LightGBM, on the same repeated stratified splits.

    python benchmarks/german_credit.py              # about 5 minutes on one core
    python benchmarks/german_credit.py --splits 3 --trials 5 --out /tmp/quick

Each split holds out 200 of the 1,000 rows. LightGBM gets all other 800, native categories, and settings tuned by Optuna
(TPE) for cross-validated AUC on them; it is then refitted on the 800. penjing gets the same 800 in two ways: as a run
does it (a tenth kept for calibration, so 720 are fitted), and all of them. The intervals of means and differences use
the corrected resampled t statistic (Nadeau and Bengio 2003), for the training sets of the splits overlap.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from penjing.core.events import ignore
from penjing.core.task import Roles, Table
from penjing.data.catalog import demo_rows
from penjing.data.config import LimitsConfig
from penjing.evaluate.hardware import describe_hardware
from penjing.tasks.tabular import TabularClassification
from penjing.train.direct.boosting import BoostingTrainer
from penjing.train.direct.config import DirectConfig

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20, help="Optuna trials of each split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    rows = [row for _, row in demo_rows("german-credit", LimitsConfig())]
    bad = np.array([row[LABEL] == POSITIVE for row in rows])
    aucs: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for split in range(arguments.splits):
        fit_rows, test_rows = train_test_split(np.arange(len(rows)), test_size=TEST, stratify=bad, random_state=split)
        for name, scores, took in one_split(rows, bad, fit_rows, test_rows, split, arguments):
            aucs.setdefault(name, []).append(float(roc_auc_score(bad[test_rows], scores)))
            seconds.setdefault(name, []).append(took)
        print(split, {name: round(values[-1], 4) for name, values in aucs.items()}, flush=True)
    report(summarise(aucs, seconds, arguments), arguments.out)


def one_split(
    rows: list[dict[str, Any]], bad: np.ndarray, fit: np.ndarray, test: np.ndarray, seed: int, arguments: Any
) -> list[tuple[str, np.ndarray, float]]:
    """(name, score of "bad" for each test row, CPU seconds) of every contender."""
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
    results = []
    for name, contender in contenders.items():
        begin = time.process_time()
        results.append((name, contender(), time.process_time() - begin))
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


def corrected_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95% interval over repeated splits, with Nadeau and Bengio's variance (1/J + n_test/n_train) s²."""
    spread = np.sqrt((1 / len(values) + TEST / (1000 - TEST)) * values.var(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1) * spread)
    mean = float(values.mean())
    return mean, mean - half, mean + half


def summarise(aucs: dict[str, list[float]], seconds: dict[str, list[float]], arguments: Any) -> dict[str, Any]:
    against = np.array(aucs[TUNED])
    contenders = {
        name: {
            "auc": corrected_interval(np.array(values)),
            "difference_to_tuned_lightgbm": corrected_interval(np.array(values) - against),
            "splits_won": int((np.array(values) > against).sum()),
            "median_cpu_seconds": float(np.median(seconds[name])),
            "auc_of_each_split": values,
        }
        for name, values in aucs.items()
    }
    hardware = describe_hardware()
    libraries = {**hardware.libraries, "optuna": optuna.__version__, "python": platform.python_version()}
    command = f"python benchmarks/german_credit.py --splits {arguments.splits} --trials {arguments.trials}"
    return {
        "command": f"{command} --threads {arguments.threads}",
        "hardware": {"cpu": hardware.cpu, "cores": hardware.cores, "flags": hardware.flags},
        "libraries": libraries,
        "penjing_settings": DirectConfig().model_dump(),
        "contenders": contenders,
    }


def report(summary: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "german_credit.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# German credit: AUC",
        "",
        "1,000 loan applicants, 20 columns, 30% bad. Repeated stratified splits, 200 rows held out of each; means with",
        "95% intervals by the corrected resampled t statistic. CPU seconds are medians of a split.",
        "",
        "| who | AUC | against tuned LightGBM | splits won | CPU seconds |",
        "|---|---|---|---|---|",
    ]
    for name, result in summary["contenders"].items():
        mean, low, high = result["auc"]
        gap, gap_low, gap_high = result["difference_to_tuned_lightgbm"]
        difference = "–" if name == TUNED else f"{100 * gap:+.2f} [{100 * gap_low:+.2f}, {100 * gap_high:+.2f}]"
        won = "–" if name == TUNED else f"{result['splits_won']} of {len(result['auc_of_each_split'])}"
        lines.append(
            f"| {name} | {100 * mean:.2f} [{100 * low:.2f}, {100 * high:.2f}] | {difference} | {won} |"
            f" {result['median_cpu_seconds']:.1f} |"
        )
    hardware = summary["hardware"]
    lines += ["", f"Made by `{summary['command']}` on {hardware['cpu']}, {hardware['cores']} cores.", ""]
    (out / "german_credit.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
