"""The help of the command line in Chinese. English text → Chinese; a test holds that none is missing."""

from __future__ import annotations

import argparse

HELP = {
    "positional arguments": "参数",
    "options": "选项",
    "output": "输出",
    "recipe": "配方",
    "show this help message and exit": "显示本帮助",
    "show the version and leave": "显示版本号",
    "From a labelled file to a proven model that fits your machine, in one command.": (
        "一条命令，从一份有标注的数据得到适合您机器、经过验证的模型。"
    ),
    "a data file, a folder per class, an SQL URL, hub:ID, a demo name (reviews-zh), or a recipe (.yaml)": (
        "数据文件、每类一个子目录的目录、SQL 地址、hub:ID、示例名（reviews-zh），或配方（.yaml）"
    ),
    "directory for the artifact (default: runs/<name of the data>)": "模型目录（默认 runs/<数据名>）",
    "replace the run that is there": "替换已有的运行结果",
    "sign the artifact with this private key (PEM)": "用该私钥（PEM）为模型签名",
    "task kind, such as text-classification (default: inferred)": "任务类型，如 text-classification（默认自动判断）",
    "catalog name, directory, hub id or 'scratch' (default: selected)": (
        "目录中的模型名、本地目录、模型站 ID 或 scratch（默认自动挑选）"
    ),
    "the column with the text": "文本所在的列",
    "the column to be predicted": "要预测的列",
    "passes over the training rows (default: by size)": "训练轮数（默认按数据量）",
    "seeds splits, initialisation and order (default: 42)": "划分、初始化和顺序的随机种子（默认 42）",
    "what the model must fit, such as 'p95_ms=50,size_mb=500,metric=85'": (
        "模型必须满足的预算，如 'p95_ms=50,size_mb=500,metric=85'"
    ),
    "any key of the recipe, such as train.epochs=3; repeatable (docs/recipe.md lists them)": (
        "配方中的任意一项，如 train.epochs=3；可重复（见 docs/recipe.md）"
    ),
    "a key of the recipe, such as evaluate.resamples=2000 or budget.metric=90; repeatable": (
        "配方中的一项，如 evaluate.resamples=2000 或 budget.metric=90；可重复"
    ),
    "how DATA is written, where it is not as the training rows were: data.format.sheet=2025; repeatable": (
        "数据的格式（与训练数据不同时），如 data.format.sheet=2025；可重复"
    ),
    "a key of the recipe, such as evaluate.resamples=2000; repeatable": (
        "配方中的一项，如 evaluate.resamples=2000；可重复"
    ),
    "one JSON document on standard output, nothing else": "标准输出只有一份 JSON",
    "no progress and no notices, only warnings": "不显示进度和提示，只显示警告",
    "language of the output (default: of the environment)": "输出语言（默认随环境）",
    "default: list": "默认 list",
    "with get: catalog name, directory or hub id": "用于 get：目录中的模型名、本地目录或模型站 ID",
    "the directory a run wrote": "运行产生的模型目录",
    "what it must fit, such as 'drop=0.5,p95_ms=2,size_mb=10' (default: drop=1, as fast as it gets)": (
        "模型须满足的要求，如 'drop=0.5,p95_ms=2,size_mb=10'（默认 drop=1，越快越好）"
    ),
    "directory for the artifact (default: ARTIFACT-small)": "模型目录（默认为原目录名加 -small）",
    "wall time of the search (default: 20)": "搜索的时间，分钟（默认 20）",
    "methods to apply instead of searching, such as vocabulary,distil,static-int8": (
        "不搜索，直接依次使用的方法，如 vocabulary,distil,static-int8"
    ),
    "what is best among the models that fit": "在符合要求的模型中以什么为最好",
    "replace the artifact that is there": "替换已有的模型目录",
    "any key of the recipe, such as compress.altered=0 or data.source=FILE; repeatable": (
        "配方中的任意键，如 compress.altered=0 或 data.source=文件；可重复"
    ),
    "one or more; the first is the reference": "一个或多个，以第一个为基准",
    "rows to predict (default: the sealed test rows beside the first)": (
        "用来预测的数据（默认第一个模型封存的测试数据）"
    ),
    "callers at the same time (default: 1)": "同时调用的个数（默认 1）",
    "times each is measured (default: 3)": "每个测量的次数（默认 3）",
    "run all on this backend (default: as certified)": "都用这个运行后端（默认按测量结果）",
    "first choose backend, threads and batches by measuring, and keep that": (
        "先测量并选定运行后端、线程数和批大小，并保存"
    ),
    "format (default: onnx)": "格式（默认 onnx）",
    "directory for the files, which must not exist": "存放文件的目录，须尚不存在",
    "rows to compare on (default: the sealed test rows)": "用来比对的数据（默认封存的测试数据）",
    "greatest difference of any output (default: 0.001)": "输出允许的最大差异（默认 0.001）",
    "labelled rows (default: the sealed test rows)": "有标注的数据（默认用封存的测试数据）",
    "labelled rows that are new to both (default: the sealed test rows they share)": (
        "两个模型都没见过的有标注数据（默认用两者共同的封存测试数据）"
    ),
    "the sealed test file, where it is not beside the artifact": "封存的测试文件（不在模型目录旁边时）",
    "the sealed test file, where it is not beside them": "封存的测试文件（不在模型目录旁边时）",
    "the column with the text, where DATA calls it otherwise": "文本所在的列（数据中列名不同时）",
    "the column with the label, where DATA calls it otherwise": "标签所在的列（数据中列名不同时）",
    "do not measure latency, throughput and memory": "不测量延迟、吞吐量和内存",
    "the artifact that a compressed one was made from, to compare the two again": (
        "压缩前的模型目录，用于重新对比压缩前后的模型"
    ),
    "also write report.json, the page and the model card there": "同时把 report.json、报告页和模型卡写到该目录",
    "a data file of any format, or - for standard input": "任意格式的数据文件；- 表示标准输入",
    "texts to predict (two for one pair)": "要预测的文本（文本对给两条）",
    "of standard input (default: one text a line); csv has a header, and commas, tabs or semicolons": (
        "标准输入的格式（默认每行一条文本；csv 首行为列名，以逗号、制表符或分号分隔）"
    ),
    "a .csv, .jsonl or .parquet file (default: standard output)": ".csv、.jsonl 或 .parquet 文件（默认标准输出）",
    "of the output (default: by its name)": "输出格式（默认按文件名）",
    "replace the output file that is there": "替换已有的输出文件",
    "what runs the model: onnxruntime, openvino or torch (default: as measured on this machine, else onnxruntime)": (
        "用什么运行模型：onnxruntime、openvino 或 torch（默认按本机的测量结果，没有则用 onnxruntime）"
    ),
    "threads (default: one a physical core)": "线程数（默认每个物理核一个）",
    "refuse an artifact not signed by this key's holder (PEM)": "不是该公钥（PEM）持有者签名的模型一律拒绝",
    "the reference, an artifact": "作为基准的模型",
    "the candidate; differences are B minus A": "候选模型；差值为 B 减 A",
    "the private key (PEM)": "私钥（PEM）",
    "make a private key there, the public one in KEY.pub, and use it": "在此生成并使用新私钥，公钥写到 KEY.pub",
    "the data the recipe is for": "配方所用的数据",
    "where to write (default: recipe.yaml)": "写到哪里（默认 recipe.yaml）",
    "replace the file that is there": "替换已有的文件",
    "the shell": "shell 的名称",
}
EXIT_CODES = """\
退出码：
  0    完成
  2    有需要修正的问题：消息会说明是什么、在哪里
  3    结果没有达到预算
  4    verify：报告中有数字未能复算一致
  130  被中断（143：被终止）；run 和 train 再次执行时继续
"""


class ChineseFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's own "usage:" in Chinese."""

    def add_usage(self, usage, actions, groups, prefix=None):  # noqa: ANN001, ANN201, D102 - as the original
        super().add_usage(usage, actions, groups, "用法：" if prefix is None else prefix)


def translate(parser: argparse.ArgumentParser) -> None:
    """Put a parser's help into Chinese, in place; what the table does not know stays as it is."""
    parser.formatter_class = ChineseFormatter
    parser.description = HELP.get(parser.description or "", parser.description)
    for group in parser._action_groups:
        group.title = HELP.get(group.title or "", group.title)
    for action in parser._actions:
        action.help = HELP.get(action.help or "", action.help)
