"""Short words of progress lines and tables, in Chinese; patterns as in `notices.py`."""

from __future__ import annotations

SCREENS: tuple[tuple[str, str], ...] = (
    # progress
    (r"encoding with {…}", r"用 {1} 编码"),
    (r"encoding for the head's start", r"为分类头的起点编码"),
    (r"states of the frozen layers, once", r"冻结层的状态，只算一次"),
    (r"fitting the linear model over n-grams", r"拟合 n 元词组的线性模型"),
    (r"a short training run", r"短时试训"),
    (r"read by the teacher", r"由教师模型读过"),
    (r"reading {…}", r"读取 {1}"),
    # verify
    (r"equal", r"相等"),
    (r"equal to {…} \(rounded otherwise here\)", r"相差不超过 {1}（此处舍入不同）"),
    (r"at most {…} ×", r"至多 {1} 倍"),
    (r"at least {…} ×", r"至少 {1} 倍"),
    (r"known to the training run only", r"只有训练时才知道"),
    (r"another machine", r"不是同一台机器"),
    (r"another release of penjing", r"penjing 版本不同"),
    (r"not measured", r"未测量"),
    (r"not drawn, because figures differ", r"数字不一致，因此未重绘"),
    (r"differs", r"不同"),
    (r"{N} entries", r"{1} 项"),
    (r"{N} equal", r"{1} 项相等"),
    (r"{N} points", r"{1} 个点"),
    (r"model digest", r"模型摘要值"),
    (r"test file", r"测试文件"),
    (r"what came true of the quote", r"报价的兑现"),
    (r"what was quoted", r"报价的内容"),
    (r"version of {…}", r"{1} 的版本"),
    (r"confusion", r"混淆矩阵"),
    (r"mistakes", r"错例"),
    (r"num_mistakes", r"错例数"),
    (r"slices", r"分组"),
    (r"verdicts", r"预算结论"),
    (r"evaluation", r"评估的其余部分"),
    (r"curves", r"训练曲线"),
    (r"pages", r"报告页"),
    (r"task", r"任务"),
)
