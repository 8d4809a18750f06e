"""What `check` finds."""

from __future__ import annotations

CHECKED: tuple[tuple[str, str], ...] = (
    (
        r"{N} rows repeat the content of another row \({N} contents come more than once\)",
        r"{1} 行与其他行内容相同（{2} 种内容出现不止一次）",
    ),
    (
        r"remove the copies if they are not how often production sees them; all copies of a text go into one part",
        r"若实际业务中不会如此频繁出现，请去掉重复；同一文本的所有重复都会分到同一部分",
    ),
    (r"{N} times: {…}", r"{1} 次：{2}"),
    (r"{N} contents come with different labels \({N} rows\)", r"{1} 种内容带有不同的标签（{2} 行）"),
    (r"decide on one label for each; no model can get both right", r"请为每种内容定一个标签；任何模型都不可能都答对"),
    (
        r"{N} held-out rows have the content of a training row, so they are remembered, not predicted",
        r"{1} 行留出数据与训练数据内容相同，因此是记住的而不是预测的",
    ),
    (
        r"set data.split.drop_leaks: true, or let the split be made anew",
        r"请设 data.split.drop_leaks: true，或重新划分",
    ),
    (r"same content as a training row", r"与一行训练数据内容相同"),
    (r"{N} rows are nearly the same as another row", r"{1} 行与其他行几乎相同"),
    (
        r"look whether they come from a template or from scraping twice; keep one of each",
        r"请看是否来自模板或重复抓取；各留一行",
    ),
    (r"(\d+%) like {…}: {…}", r"与 {2} 相似 {1}：{3}"),
    (
        r"{N} held-out rows are nearly the same as a training row; their accuracy flatters",
        r"{1} 行留出数据与某行训练数据几乎相同；其准确率会偏高",
    ),
    (
        r"give the rows of one origin a group column \(data.columns.group\), so that they stay together",
        r"请为同一来源的行加一个分组列（data.columns.group），使其留在同一部分",
    ),
    (r"nearly the same as a training row", r"与一行训练数据几乎相同"),
    (
        r"{N} labels look wrong to a model that did not learn these rows \(suspicions, not verdicts\)",
        r"{1} 个标签在没学过这些行的模型看来可能有误（只是怀疑，不是结论）",
    ),
    (
        r"{N} labels among {N} rows drawn look wrong to a model that did not learn these rows "
        r"\(suspicions, not verdicts\)",
        r"抽取的 {2} 行中，{1} 个标签在没学过这些行的模型看来可能有误（只是怀疑，不是结论）",
    ),
    (r"look at them, least believable first, and correct what is wrong", r"请从最可疑的看起，更正有误的"),
    (r"labelled {…}, looks like {…} \({…}\): {…}", r"标为 {1}，更像 {2}（{3}）：{4}"),
    (r"labelled with nothing, looks as if {…} applied \({…}\): {…}", r"没有标签，但看起来应有 {1}（{2}）：{3}"),
    (r"labelled {…}, looks as if {…} applied \({…}\): {…}", r"标为 {1}，但看起来还应有 {2}（{3}）：{4}"),
    (r"labelled {…}, looks as if {…} did not apply \({…}\): {…}", r"标为 {1}，但看起来不应有 {2}（{3}）：{4}"),
    (r"{N} of {N} classes have fewer than {N} rows", r"{2} 类中有 {1} 类少于 {3} 行"),
    (r"label more rows of these classes, or merge them", r"请为这些类多标一些，或将其合并"),
    (r"{N} rows", r"{1} 行"),
    (
        r"the largest class \({…}\) has {N} times the rows of the smallest \({…}\)",
        r"最大的类（{1}）的行数是最小的类（{3}）的 {2} 倍",
    ),
    (
        r"judge by macro-F1; class weights or focal loss help, more rows of the small classes help more",
        r"请看宏 F1；类别权重或 focal 损失有帮助，为小类多标一些更有帮助",
    ),
    (r"{N} feature columns have empty cells \({N} in all\)", r"{1} 个特征列有空单元格（共 {2} 个）"),
    (
        r"nothing, if cells are also empty in production; the model knows a missing value",
        r"若实际业务中也会空缺，则无需处理；模型认得缺失值",
    ),
    (r"{…}% empty", r"{1}% 为空"),
    (r"{N} feature columns have one value only", r"{1} 个特征列只有一个值"),
    (r"leave them out", r"请去掉它们"),
    (r"one value", r"只有一个值"),
    (r"determines the label", r"单独就能决定标签"),
    (
        r"{N} feature columns determine the label by themselves: {…}",
        r"{1} 个特征列单独就能决定标签：{2}",
    ),
    (
        r"leave out what is known only after the fact \(data.columns.features\)",
        r"请去掉事后才知道的列（data.columns.features）",
    ),
    (r"{N} rows have no text and are left out", r"{1} 行没有文本，已略过"),
    (r"fill them, or delete the rows", r"请补上，或删除这些行"),
    (
        r"{N} rows have a text and no label; they serve continued pretraining only",
        r"{1} 行有文本但没有标签；只能用于继续预训练",
    ),
    (r"label them if few classes are well covered", r"若多数类别数据不足，请为其标注"),
    (r"empty", r"空"),
    (r"{N} texts hold control or invisible characters", r"{1} 条文本含控制字符或不可见字符"),
    (r"clean them at the source; the tokenizer ignores or splits them", r"请在源头清理；分词器会忽略或拆开它们"),
    (r"{N} texts look as if decoded with the wrong encoding", r"{1} 条文本像是用错误的编码解码的"),
    (
        r"export the data again as UTF-8, or set data.format.encoding",
        r"请以 UTF-8 重新导出，或设 data.format.encoding",
    ),
    (r"{N} texts hold HTML tags", r"{1} 条文本含 HTML 标签"),
    (r"strip the tags if production texts have none", r"若实际业务中的文本没有标签，请去掉"),
    (
        r"texts have {N} characters \(median\), 95% at most {N}, the longest {N}",
        r"文本长度中位数为 {1} 个字符，95% 不超过 {2}，最长 {3}",
    ),
    (
        r"texts have {N} tokens of {…} \(median\), 95% at most {N}, the longest {N}",
        r"按 {2} 的词元计，文本长度中位数为 {1}，95% 不超过 {3}，最长 {4}",
    ),
    (
        r"to have tokens counted, get a model \(penjing models get {…}\) or name one \(--model\)",
        r"若要按词元计数，请先获取模型（penjing models get {1}），或用 --model 指定",
    ),
    (r"nothing", r"无需处理"),
    (
        r"{…}% of the texts exceed {N} characters \(about {N} tokens, estimated\) and are cut",
        r"{1}% 的文本超过 {2} 个字符（约 {3} 个词元，仅为估计），会被截断",
    ),
    (
        r"{…}% of the texts exceed {N} tokens \(what {…} is to read\) and are cut",
        r"{1}% 的文本超过 {2} 个词元（{3} 读取的上限），会被截断",
    ),
    (
        r"raise the maximum length, or put what decides at the start of the text",
        r"请提高最大长度，或把关键内容放在文本开头",
    ),
    (r"{N} (characters|tokens)", r"{1} 个{2}"),
    (r"the texts are in several languages: {…}", r"文本有多种语言：{1}"),
    (r"choose a multilingual model, or split the data by language", r"请选用多语言模型，或按语言拆分数据"),
    (r"label errors", r"标签错误"),
    (r"a quick model cannot tell right labels of pairs from wrong ones", r"快速模型分不清文本对的标签是对是错"),
    (
        r"only for classes of texts or of rows of tables, not {…}",
        r"只适用于文本或表格行的分类标签，不适用于 {1}",
    ),
    (r"of tables only where a row has one label", r"表格只适用于每行一个标签的情形"),
    (r"a quick model learned nothing of the classes from these columns\.", r"快速模型从这些列学不到与类别有关的东西"),
    (r"needs {N} different rows, there are {N}", r"需要 {1} 行不同的数据，只有 {2} 行"),
    (r"needs {N} different texts, there are {N}", r"需要 {1} 条不同的文本，只有 {2} 条"),
    (r"needs a label that {N} rows have and as many have not", r"需要至少一个标签：有它和没有它的都不少于 {1} 行"),
    (r"needs {N} to {N} classes, there are {N}", r"需要 {1} 至 {2} 类，现有 {3} 类"),
    (r"needs {N} rows a class on average, there are {…}", r"平均每类需要 {1} 行，只有 {2} 行"),
)
