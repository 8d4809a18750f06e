"""The table of verbs: what each is called, where it is, what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Args:
        target: "module:function"; the module also has `add_arguments(parser)`.
        en: what it does, in one line.
        zh: the same in Chinese.
    """

    target: str
    en: str
    zh: str


VERBS: Mapping[str, Verb] = {
    "run": Verb("penjing.cli.run:run", "data in, proven model out", "从数据到经过验证的模型"),
    "quote": Verb(
        "penjing.cli.quote:quote", "before training: what you would get, and its cost", "训练之前：效果与成本"
    ),
    "check": Verb("penjing.cli.check:check", "what is wrong with the data", "数据有哪些问题"),
    "models": Verb("penjing.cli.models:models", "the catalog of pretrained models; models get NAME", "预训练模型目录"),
    "demos": Verb(
        "penjing.cli.demos:demos", "demo data that any verb takes in place of a file", "可代替文件的示例数据"
    ),
    "select": Verb(
        "penjing.cli.select:select", "which pretrained model for this data, and why", "为数据挑选预训练模型"
    ),
    "train": Verb("penjing.cli.train:train", "train alone, without the test figures", "只训练，不做测试"),
    "evaluate": Verb("penjing.cli.evaluate:evaluate", "score an artifact on labelled rows", "用有标注的数据评测模型"),
    "predict": Verb("penjing.cli.predict:predict", "predict rows of a file, of standard input or given", "预测"),
    "compare": Verb("penjing.cli.compare:compare", "which of two artifacts is better; a paired test", "比较两个模型"),
    "compress": Verb(
        "penjing.cli.compress:compress", "make an artifact fit a budget, and prove it", "压缩模型，使其符合预算"
    ),
    "export": Verb("penjing.cli.export:export", "a model as files for another program", "导出模型文件供其他程序使用"),
    "bench": Verb("penjing.cli.bench:bench", "what artifacts cost on this machine, side by side", "并排测量模型的开销"),
    "verify": Verb("penjing.cli.verify:verify", "re-run every figure of a report", "复算报告中的每个数字"),
    "sign": Verb("penjing.cli.sign:sign", "sign an artifact, or make a pair of keys for it", "为模型签名，或生成密钥"),
    "init": Verb("penjing.cli.init:init", "write a commented recipe", "写出带注释的配方文件"),
    "completion": Verb("penjing.cli.completion:completion", "completion script for a shell", "命令补全脚本"),
}
