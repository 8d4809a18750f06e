"""What many errors say: what is usually to be done, and what would have been accepted. Looked at last."""

from __future__ import annotations

SENTENCES: tuple[tuple[str, str], ...] = (
    # next steps
    (r"did you mean {…}\?", r"是否应为 {1}？"),
    (r"check the path", r"检查路径"),
    (r"correct it and try again", r"更正后重试"),
    (
        r"correct it; --help and docs/recipe\.md say what is accepted",
        r"更正后重试；可用的写法见 --help 和 docs/recipe.md",
    ),
    (r"use an undamaged copy, or make it again", r"换用完好的副本，或重新生成"),
    (r"choose another setting, or leave it to the default", r"换一个设置，或用默认值"),
    (
        r"do not use the file; try again, and if it stays so, ask whoever keeps the index",
        r"不要使用该文件；请重试，若仍如此，请询问索引的维护者",
    ),
    (r"the optional dependency {…} is not installed", r"未安装可选依赖 {1}"),
    (r'in the folder of penjing: pip install "\.\[{…}\]"', r'在 penjing 的目录中运行 pip install ".[{1}]"'),
    (r"(penjing .+)", r"运行 {1}"),
    # what is accepted
    (r"such as {…}", r"{1} 之类"),
    (r"one of {…}", r"{1} 之一"),
    (r"at least {N}", r"至少 {1}"),
    (r"at most {N}", r"不超过 {1}"),
    (r"(?P<first>[\w.-]+) or (?P<second>[\w.-]+) or (?P<last>[\w.-]+)", r"{1}、{2} 或 {3}"),
    (r"(?P<first>[\w.-]+(?:, [\w.-]+)*) or (?P<last>[\w.-]+)", r"{1} 或 {2}"),
)
