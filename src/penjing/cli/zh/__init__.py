"""What the work below says, in Chinese: patterns over its English sentences. What no pattern fits stays English.

The work below the command line speaks one language, so that logs and JSON are the same everywhere; the terminal
translates. In a pattern {N} stands for a number, {type} for the name of a Python type, {…} for anything, which stays
as it is, and {=} for a sentence that is translated in turn.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from itertools import count

_N = r"([\d,]+)"
_HAN = re.compile("[\u4e00-\u9fff]")
_ENDS = ("。", "！", "？", ".", "!", "?")
# What a pattern's own groups find: words of ours, of which there are few.
_WORDS = {
    "characters": "字符",
    "tokens": "词元",
    "training": "训练",
    "pretraining": "预训练",
    "validation": "验证",
    "held-out": "留出",
    "test": "测试",
    "stratified": "分层",
    "grouped": "按组",
    "time": "按时间",
    "given": "按给定",
    "group": "分组",
    "row id": "行号",
    "split": "划分",
    "interrupted": "已中断",
    "terminated": "已终止",
    "task": "任务类型",
    "stage": "阶段",
    "backend": "运行后端",
    "train": "训练",
    "valid": "验证",
}
_TYPES = {
    "list": "列表",
    "tuple": "元组",
    "dict": "字典",
    "str": "字符串",
    "int": "整数",
    "float": "小数",
    "bool": "布尔值",
    "NoneType": "空值",
}


def in_chinese(sentence: str) -> str:
    """A notice, or what `check` finds (errors to come among it), in Chinese; as it is where no pattern fits."""
    return _fitting(sentence, "notices") or piece_in_chinese(sentence) or sentence


def error_in_chinese(what: str, where: str | None, expected: str | None, next_step: str) -> str:
    """An error's line in Chinese; the arguments are those of `PenjingError`. The place is never translated."""
    found = _closed(_finding(piece_in_chinese(what) or what, where, expected))
    return found + _closed(f"下一步：{piece_in_chinese(next_step) or next_step}")


def piece_in_chinese(text: str) -> str | None:
    """A piece of an error, several of them in a row, or a finding as `PenjingError` says it; None: no pattern fits."""
    for found in re.finditer("; ", text):
        first = _fitting(text[: found.start()], "errors")
        if first is not None:
            rest = piece_in_chinese(text[found.end() :])
            if rest is not None:
                return f"{first}；{rest}"
            break  # the semicolon belongs to the sentence
    chinese = _fitting(text, "errors")
    if chinese is not None:
        return chinese
    said, _, expected = text.removesuffix(".").partition(". Expected ")
    for where, what in (("", said), said.partition(": ")[::2]):
        chinese = _fitting(what, "errors")
        if chinese is not None:
            return _finding(chinese, where, expected)
    return None


def _finding(what: str, where: str | None, expected: str | None) -> str:
    found = f"{where}：{what}" if where else what
    if not expected:
        return found
    accepted = piece_in_chinese(expected) or expected
    return f"{_closed(found)}应为{'' if _HAN.match(accepted) else ' '}{accepted}"


def _fitting(text: str, table: str) -> str | None:
    for pattern, template in _compiled(table):
        found = pattern.fullmatch(text)
        if found:
            named = {place: name for name, place in pattern.groupindex.items()}
            parts = (_part(part, named.get(place, "")) for place, part in enumerate(found.groups(), 1))
            return template.format("", *parts)
    return None


def _part(text: str, name: str) -> str:
    if name.startswith("sentence"):
        return piece_in_chinese(text) or text
    if name.startswith("type"):
        return _TYPES.get(text, f" {text}")
    return text if name else _WORDS.get(text, text)


def _closed(text: str) -> str:
    return text if text.endswith(_ENDS) else text + "。"


@cache
def _compiled(table: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    sentences = importlib.import_module(f"{__name__}.{table}").SENTENCES
    return tuple((compiled(pattern), template) for pattern, template in sentences)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the tables as a regular expression; groups that stand for {type}, {…} and {=} have names."""
    places = count()
    for sign, name, regex in (("{type}", "type", r"\w+"), ("{…}", "as_it_is", ".+"), ("{=}", "sentence", ".+")):
        while sign in pattern:
            pattern = pattern.replace(sign, f"(?P<{name}_{next(places)}>{regex})", 1)
    return re.compile(pattern.replace("{N}", _N), re.DOTALL)
