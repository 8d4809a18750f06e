"""Notices. A test holds that everything the usual commands say has its pattern."""

from __future__ import annotations

from penjing.cli.zh.checked import CHECKED
from penjing.cli.zh.screens import SCREENS

SENTENCES: tuple[tuple[str, str], ...] = (
    # evaluation
    (
        r"the model was made from these rows, so it has seen most of them: the figures will be too good; leave the "
        r"data out to judge it on its sealed test rows, or give rows that came later",
        r"模型正是用这些数据训练的，其中大部分它已经见过，结果会偏高；不给数据即用封存的测试集评估，或给出之后产生的新数据",
    ),
    (
        r"the rows have to be new to both models: one that learned from some of them looks better than it is",
        r"这些数据必须是两个模型都没见过的：若有模型用其中的数据训练过，它的结果会偏高",
    ),
    (
        r"{…} was made from these rows, so it has seen most of them and looks better than it is; give rows that are "
        r"new to both models",
        r"{1} 正是用这些数据训练的，其中大部分它已经见过，结果会偏高；请给出两个模型都没见过的数据",
    ),
    # how the data was understood
    (r"{…}: read as {…}, comma-separated, first row is the header", r"{1}：按 {2} 读取，逗号分隔，首行为表头"),
    (r"{…}: read as {…}, comma-separated, no header", r"{1}：按 {2} 读取，逗号分隔，无表头"),
    (r"{…}: read as {…}, tab-separated, first row is the header", r"{1}：按 {2} 读取，制表符分隔，首行为表头"),
    (r"{…}: read as {…}, tab-separated, no header", r"{1}：按 {2} 读取，制表符分隔，无表头"),
    (
        r"{…}: read as {…}, fields separated by {…}, first row is the header",
        r"{1}：按 {2} 读取，以 {3} 分隔，首行为表头",
    ),
    (r"{…}: read as {…}, fields separated by {…}, no header", r"{1}：按 {2} 读取，以 {3} 分隔，无表头"),
    (r"{…}: read as {…}, one field a line, first row is the header", r"{1}：按 {2} 读取，每行一个字段，首行为表头"),
    (r"{…}: read as {…}, one field a line, no header", r"{1}：按 {2} 读取，每行一个字段，无表头"),
    (r"columns {…} and {…} are read as {…} and 'spans'", r"{1} 和 {2} 两列按文本 {3} 及其片段读取"),
    (
        r"none could be tried: {=}",
        r"没有一个模型能试训：{1}",
    ),
    (r"{…}: read as {…}", r"{1}：按 {2} 读取"),
    (
        r"column {…} is read as the text, because it is the only one; --text says so without this notice",
        r"{1} 列是唯一的一列，因此按文本读取；用 --text 指定即不再提示",
    ),
    (
        r"the first line has the column's name, {…}, and is predicted like the others; if it is a header, give "
        r"--stdin-format csv",
        r"第一行含有列名 {1}，也和其他行一样作了预测；若它是表头，请加 --stdin-format csv",
    ),
    (r"text: column {…} \({N} characters on average\)", r"文本：{1} 列（平均 {2} 个字符）"),
    (r"second text: column {…} \({N} characters on average\)", r"第二文本：{1} 列（平均 {2} 个字符）"),
    (r"spans: column {…}, {N} labels? \({…}\)", r"片段：{1} 列，{2} 类（{3}）"),
    (r"label: column {…}, {N} classes \({…}\)", r"标签：{1} 列，{2} 类（{3}）"),
    (r"label: column {…}, numbers", r"标签：{1} 列，数值"),
    (
        r"label: column {…}, numbers with commas between thousands \(labels instead: data.columns.label_separator\)",
        r"标签：{1} 列，带千位逗号的数值（若其实是多个标签，请设 data.columns.label_separator）",
    ),
    (
        r"label: column {…}, several labels a row, written with {…} between them; {N} labels",
        r"标签：{1} 列，每行可有多个标签，以 {2} 分隔；共 {3} 个标签",
    ),
    (r"label: column {…}, several labels a row; {N} labels", r"标签：{1} 列，每行可有多个标签；共 {2} 个标签"),
    (r"label: {N} empty cells mean none of the labels", r"标签：{1} 个空单元格表示没有任何标签"),
    (
        r"label: {N} empty cells mean not labelled yet; an empty list says none of the labels",
        r"标签：{1} 个空单元格表示尚未标注；空列表才表示没有任何标签",
    ),
    (
        r"label: {N} empty cells mean not labelled yet \(data.columns.label_separator makes them mean none\)",
        r"标签：{1} 个空单元格表示尚未标注（设 data.columns.label_separator 则表示没有任何标签）",
    ),
    (r"task: {…} \(as you said\)", r"任务：{1}（按您的指定）"),
    (r"task: {…}", r"任务：{1}"),
    (r"language: {…} \({…}\)", r"语言：{1}（{2}）"),
    (
        r"time: column {…}; to test on the newest rows, set data.split.strategy: time",
        r"时间：{1} 列；若要用最新的数据测试，请设 data.split.strategy: time",
    ),
    (r"(group|row id|split|time): column {…}", r"{1}：{2} 列"),
    (
        r"no column is called label; {…} was chosen \(set data.columns.label if that is wrong\)",
        r"没有名为 label 的列，选用了 {1}（若不对，请设 data.columns.label）",
    ),
    (
        r"not used: {…} \(set data.columns.text to use one of them\)",
        r"未使用：{1}（要使用其中一列，请设 data.columns.text）",
    ),
    (r"not used: {…} \(nearly every row differs\)", r"未使用：{1}（几乎每行都不同）"),
    (
        r"column {…} holds a few words; the other columns are taken as the input",
        r"{1} 列只有几个词；以其他列作为输入",
    ),
    (r"features: {N} columns? \({…}\)", r"特征：{1} 列（{2}）"),
    (r"left out: {N} rows without a text \({…}\)", r"已略过：{1} 行没有文本（{2}）"),
    (r"set apart: {N} rows without a label \({…}\)", r"另置：{1} 行没有标签（{2}）"),
    (
        r"column {…} holds numbers but for {N} cells? \({…}\), so it is read as categories; correct or empty them",
        r"{1} 列除 {2} 个单元格（{3}）外都是数值，因此按类别读取；请更正或清空它们",
    ),
    (
        r"{N} rows repeat the content of another row; copies stay in one part",
        r"{1} 行与其他行内容相同；相同内容只会分到同一部分",
    ),
    (
        r"split: (stratified|grouped|time|given), {N} train, {N} valid, {N} test",
        r"划分：{1}，训练 {2}，验证 {3}，测试 {4}",
    ),
    (
        r"dropped {N} earlier rows whose content comes again in a later part",
        r"去掉了 {1} 行较早的数据，其内容在较晚的部分又出现",
    ),
    (
        r"dropped {N} unlabelled rows with the content of a held-out row",
        r"去掉了 {1} 行与留出数据内容相同的未标注数据",
    ),
    (
        r"{N} held-out rows have a {…} that is also learned from \(data.split.strategy: grouped keeps them apart\)",
        r"{1} 行留出数据的 {2} 在训练中也出现（data.split.strategy: grouped 可将其分开）",
    ),
    (
        r"{N} (training|validation) rows have the content of a (held-out|test) row "
        r"\(data.split.drop_leaks removes them\)",
        r"{1} 行{2}数据与{3}数据内容相同（data.split.drop_leaks 可去掉它们）",
    ),
    (
        r"dropped {N} (training|validation) rows with the content of a (held-out|test) row",
        r"去掉了 {1} 行与{3}数据内容相同的{2}数据",
    ),
    # on the way
    (r"exporting the untrained model to measure what it will cost", r"正在导出尚未训练的模型，以测量其成本"),
    (r"writing the model as ONNX and comparing it with the trained one", r"正在写出 ONNX 模型，并与训练所得比对"),
    (
        r"confidence calibrated on {N} validation rows: temperature {…}",
        r"用 {1} 行验证数据校准了置信度：温度 {2}",
    ),
    (r"going on with the interrupted run in {…}", r"继续 {1} 中被中断的运行"),
    (
        r"n-grams: {N} learned from {N} of {N} rows; logits are {…} × encoder \+ {…} × linear model",
        r"n-gram：从 {3} 行中的 {2} 行学到 {1} 个特征；logits = {4} × 编码器 + {5} × 线性模型",
    ),
    (
        r"n-grams: {N} learned from {N} of {N} rows, and left out: they do not help on the validation rows",
        r"n-gram：从 {3} 行中的 {2} 行学到 {1} 个特征，但对验证集没有帮助，未采用",
    ),
    (r"resumed at step {N} of {N}", r"从第 {1} 步（共 {2} 步）继续"),
    (r"about {N} min of (training|pretraining) ahead", r"{2}大约还需 {1} 分钟"),
    (r"stopped early at step {N}: no gain in {N} evaluations", r"在第 {1} 步提前停止：{2} 次评估没有提高"),
    (r"masked language modelling on {N} texts, {N} passes", r"在 {1} 条文本上做掩码语言建模，{2} 遍"),
    (
        r"the budget's {…} minutes of (training|pretraining) allow {N} of the {N} steps planned",
        r"预算的 {1} 分钟{2}时间只够计划 {4} 步中的 {3} 步",
    ),
    (r"steps are faster than foreseen: there is time for {N} of them", r"每步比预计的快：时间够做 {1} 步"),
    (r"fetching {…} from the model hub", r"正在从模型站获取 {1}"),
    (r"converting {…}, once", r"正在转换 {1}，仅此一次"),
    (r"another process is fetching {…}; waiting for it", r"另一个进程正在获取 {1}；等待其完成"),
    (r"another machine: {…} instead of {…}", r"不是同一台机器：现为 {1}，当时为 {2}"),
    (r"no quote before this run: {=}", r"本次运行前没有报价：{1}"),
    (r"{…} in (fp32|bf16) is left out: {=}", r"略过 {1}（{2}）：{3}"),
    (r"{…} is left out: {=}", r"略过 {1}：{2}"),
    (
        r"(train\.\S+) = {…} has no effect, because (train\.\S+) is {…}",
        r"{1} = {2} 不起作用，因为 {3} 是 {4}",
    ),
    (
        r"the package index did not give {…} \({=}\); trying the model hub",
        r"软件包索引没有给出 {1}（{2}）；改从模型站获取",
    ),
    (r"this release knows no sha256 of {…}: not checked", r"本版本没有 {1} 的 sha256，未作核对"),
    # compressing
    (r"rewriting the model", r"正在改写模型"),
    (r"comparing it with what it was", r"正在与改写前比对"),
    (r"watching activations", r"正在观测激活值"),
    (r"giving each operator more bits in turn", r"逐一让各算子用更多位"),
    (
        r"the words left out cost too much, and no bytes are limited: all of them stay",
        r"剔除的词损失过大，而预算没有限制大小：全部保留",
    ),
    (r"no time to measure {…} of the heads", r"没有时间测量保留 {1} 注意力头的模型"),
    (
        r"{N} of {N} operators stay in {N} bits, or the answers would be off",
        r"{2} 个算子中有 {1} 个保持 {3} 位，否则结果会有偏差",
    ),
    (
        r"{N} bits move the answers by {…} on average and {…} at most",
        r"{1} 位使结果平均变动 {2}，最多变动 {3}",
    ),
    (
        r"no budget is given: the fastest model that loses at most {…} is looked for",
        r"没有给出预算：寻找损失不超过 {1} 的最快的模型",
    ),
    (r"going on with the interrupted search in {…}", r"继续 {1} 中被中断的搜索"),
    (r"the limits are above what the smallest model needs", r"预算的限制高于最小的模型所需"),
    (r"teaching a student on {N} texts, {N} with labels", r"用 {1} 条文本训练学生模型，其中 {2} 条有标签"),
    (r"cascade: {…} of the validation rows answered early, {…} lost", r"级联：第一级回答 {1} 的验证数据，损失 {2}"),
    (
        r"best so far: {…}, {…} lost, {…} ms, {…} rows/s, {…} MB; fits",
        r"目前最好：{1}，损失 {2}，{3} 毫秒，{4} 行/秒，{5} MB；满足预算",
    ),
    (
        r"best so far: {…}, {…} lost, {…} ms, {…} rows/s, {…} MB; does not fit yet",
        r"目前最好：{1}，损失 {2}，{3} 毫秒，{4} 行/秒，{5} MB；尚不满足预算",
    ),
    (
        r"{N} of {N} shapes measured, {N} of them can fit; students: {…}",
        r"测量了 {2} 种形状中的 {1} 种，其中 {3} 种可能满足；学生模型：{4}",
    ),
    (r"{…} is left out for some: {=}", r"部分模型不用 {1}：{2}"),
    (r"runs best here as {…}", r"在这台机器上最好的运行方式是 {1}"),
    (r"{…} is quicker, but answers would depend on the rows beside them", r"{1} 更快，但答案会受同批其他数据影响"),
    (r"budget\.metric={…} is a floor of {…}%: of {…}, 90 means 90%", r"budget.metric={1} 即 {2}%：{3} 的 90% 写作 90"),
    (r"{…}: made", r"{1}：已完成"),
    (r"this search had no use for {…}; a chain may: --chain", r"本次搜索没有用到 {1}；可自定步骤：--chain"),
    (r"counting the pieces in use", r"统计用到的词元"),
    (r"read by the teacher", r"由教师模型读取"),
    (r"students", r"学生模型"),
    (r"dropped {N} rows of {N} classes with one row each", r"去掉了 {2} 个只有一行的类，共 {1} 行"),
    (
        r"left out {N} validation rows with labels no training row has: {…}",
        r"略过 {1} 行验证数据，训练数据没有其标签：{2}",
    ),
    (
        r"what predicting costs is not remembered, and measured again next time: {…}: {=}",
        r"预测成本未能保存，下次将重新测量：{1}：{2}",
    ),
    (
        r"what predicting costs is estimated, not measured: signal {N} ended {…}, as the system does where memory "
        r"runs out",
        r"预测成本为估计而非测量：信号 {1} 终止了 {2}，内存不足时系统会这样做",
    ),
    (
        r"what predicting costs is estimated, not measured: signal {N} ended {…}",
        r"预测成本为估计而非测量：信号 {1} 终止了 {2}",
    ),
    (
        r"the run began with {N} threads and goes on with {N}: sums are rounded otherwise, so the weights will differ "
        r"a little from those of a run never stopped",
        r"运行开始时用 {1} 个线程，现在用 {2} 个：求和的舍入不同，权重会与从未中断的运行略有差别",
    ),
    (
        r"the measured setup is not used \({=}\); {…} runs the model as by default; to measure on this machine: "
        r"(penjing bench .+)",
        r"未采用测得的运行方式（{1}），改由 {2} 按默认方式运行；要在本机测量：{3}",
    ),
    (r"the time was up before {N} setups were tried", r"时间已到，还有 {1} 种运行方式没有测"),
    (
        r"the model itself reaches {…} on {N} validation rows, where budget\.metric asks for {…}",
        r"模型本身在 {2} 行验证数据上为 {1}，达不到 budget.metric 要求的 {3}",
    ),
    (r"{N}% of the heads and {N}% of the neurons can fit", r"保留 {1}% 的注意力头和 {2}% 的神经元可以满足预算"),
    (r"students of thinner layers: {=}", r"各层变窄的学生模型：{1}"),
    (r"kept {N} of {N} heads and {N} of {N} neurons", r"保留 {2} 个注意力头中的 {1} 个，{4} 个神经元中的 {3} 个"),
    (
        r"{…}% of the weights are zero: a compressed file is smaller, and no prediction is faster",
        r"{1}% 的权重为零：压缩后的文件更小，但预测不会更快",
    ),
    (
        r"{N} of {N} matrices factored: {N} of {N} weights are left",
        r"{2} 个矩阵中分解了 {1} 个：{4} 个权重还剩 {3} 个",
    ),
    (
        r"rounding to int8 moved outputs by {…} on average, and by {…} after training",
        r"舍入到 int8 平均使输出偏移 {1}，训练后为 {2}",
    ),
    (
        r"{…} ran {N} models worse than onnxruntime: left out",
        r"{1} 运行 {2} 个模型都不如 onnxruntime，不再测量",
    ),
    *CHECKED,
    *SCREENS,
)
