"""Errors of compressing, exporting and measuring side by side."""

from __future__ import annotations

SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"a cascade's threshold is chosen on validation rows, and there are none",
        r"级联的阈值要用验证数据选取，而这里没有验证数据",
    ),
    (
        r"leave this step out of the chain, or give validation rows: data\.valid",
        r"从步骤链中去掉这一步，或给出验证数据：data.valid",
    ),
    (
        r"allow methods that leave layers as they are: --set compress\.methods=\[static-int8,half\]",
        r"只用不改变层的方法：--set compress.methods=[static-int8,half]",
    ),
    (r"only BERT encoders can be made smaller, and this is a {…}", r"只能缩小 BERT 编码器，而这是 {1}"),
    (r"only the vocabulary of a BERT encoder can be pruned", r"只能裁剪 BERT 编码器的词表"),
    (r"only BERT encoders with layers show their inner states", r"只有带层的 BERT 编码器能给出内部状态"),
    (r"leave this step out of the chain", r"从步骤链中去掉这一步"),
    (r"{…} changes the trained layers, which are gone after {…}", r"{1} 要改变训练得到的层，而在 {2} 之后这些层已不在"),
    (
        r"{…} needs the trained layers of a BERT encoder, which the artifact does not keep",
        r"{1} 需要训练得到的 BERT 编码器各层，而该模型目录没有保留",
    ),
    (
        r"compress the artifact that this one was made from, or leave this step out of the chain",
        r"压缩得到该模型之前的那个模型，或从步骤链中去掉这一步",
    ),
    (r"put {…} before {…}", r"把 {1} 放在 {2} 之前"),
    (
        r"the vocabulary is pruned first: what was learned from its teacher has the teacher's tokens",
        r"要先裁剪词表：学生模型用的是教师模型的词元",
    ),
    (
        r"{…} would change one of two models, whose threshold was chosen for both",
        r"{1} 只改变两个模型之一，而阈值是为两者一起选定的",
    ),
    (r"{…} would change files that {…} has packed", r"{1} 要修改的文件已由 {2} 打包"),
    (r"put {…} last", r"把 {1} 放在最后"),
    (r"put vocabulary first", r"把 vocabulary 放在最前"),
    (r"is {…}, which is not accepted \({…}\)", r"为 {1}，不可接受（{2}）"),
    (r"from {N} to {N}", r"从 {1} 到 {2}"),
    (r"{…} cannot be applied: {=}", r"不能使用 {1}：{2}"),
    (
        r"a {…} model has no probability of an answer, by which a first stage could be sure of it",
        r"{1} 模型的回答没有概率，第一级无法据此判断是否有把握",
    ),
    (r"limits that can be reached here: {…}", r"这里能达到的限制：{1}"),
    (
        r"the model computes in integers of 64 bits, which OpenVINO would cut to 32",
        r"模型使用 64 位整数，而 OpenVINO 会截为 32 位",
    ),
    (r"no remainders of them but those of n-grams", r"除 n 元语法外不含其余数运算"),
    (r"run it on onnxruntime", r"用 onnxruntime 运行"),
    (r"settings of {…}", r"以下设置之一：{1}"),
    (r"no backend {…}, did you mean {…}\? Known are {…}", r"没有后端 {1}，是否想用 {2}？可用的有 {3}"),
    (r"no backend {…} Known are {…}", r"没有后端 {1}，可用的有 {2}"),
    (
        r"on {…} the compressed model's answers are {…} from those of the torch model it was made from, on average of "
        r"{N} rows \(at most {…}\)",
        r"在 {1} 上，压缩模型的回答与生成它的 torch 模型平均相差 {2}（{3} 行数据；最多允许 {4}）",
    ),
    (
        r"leave out the step that rounds: --set compress\.methods=\[\.\.\.\]",
        r"去掉做舍入的步骤：--set compress.methods=[...]",
    ),
    (r"no compressing method {…}, did you mean {…}\? Known are {…}", r"没有压缩方法 {1}，是否想用 {2}？可用的有 {3}"),
    (r"no compressing method {…} Known are {…}", r"没有压缩方法 {1}，可用的有 {2}"),
    (
        r"to keep {…} of the {…}, no matrix is of a rank that takes fewer weights",
        r"要保留 {2} 的 {1}，没有哪个矩阵的秩低到能省下参数",
    ),
    (
        r"is {…}, and the model that is to be compressed reaches {…} on {…} validation rows",
        r"为 {1}，而待压缩的模型在 {3} 行验证数据上为 {2}",
    ),
    (r"at (?:most|least) {…}, which those rows leave possible", r"这些数据所容许的极限 {1}"),
    (r"train a better model first, or lower the floor", r"先训练更好的模型，或放宽下限"),
    (r"nothing can fit: a model that knows nothing has {…}", r"没有模型能满足：一个什么都没学过的模型就有 {1}"),
    (r"relax the limit, or run on a faster machine", r"放宽限制，或换更快的机器"),
    (
        r"the tokenizer has pieces up to {N}, the model {N} vectors",
        r"分词器的词元编号到 {1}，而模型只有 {2} 个向量",
    ),
    (r"there is no row to compare on", r"没有可用来比较的数据行"),
    (r"give rows: --data FILE", r"给出数据：--data 文件"),
    (r"the export differs from {=} by {…} \(tolerance {…}\)", r"导出的模型与{1}相差 {2}（容差 {3}）"),
    (r"the torch model and the artifact's own file on onnxruntime", r"torch 模型及 onnxruntime 运行的原文件"),
    (r"the torch model and the file that it is a copy of", r"torch 模型及被复制的原文件"),
    (r"the torch model", r"torch 模型"),
    (r"the artifact's own file on onnxruntime", r"onnxruntime 运行的原文件"),
    (r"the file that it is a copy of", r"被复制的原文件"),
    (
        r"raise --tolerance if that is acceptable: an 8-bit model rounds otherwise in each library",
        r"若可接受，调高 --tolerance：8 位模型在不同的库中舍入不同",
    ),
    (r"it reads the column {…}, which the rows do not have", r"它读取列 {1}，而数据中没有这一列"),
    (
        r"measure artifacts that read the same columns side by side",
        r"并排测量读取相同列的模型",
    ),
    (
        r"the artifact does not say which rows it was made from, and compressing learns from them",
        r"模型目录没有记录训练所用的数据，而压缩要用这些数据",
    ),
    (
        r"the rows are not those that the artifact was made from, so they may hold its test rows",
        r"数据与训练该模型时不同，其中可能含有它的测试数据",
    ),
    (r"rows with the fingerprint {…}\.\.\.", r"指纹为 {1}... 的数据"),
    (
        r"give the rows of then: --set data\.source=FILE, or make the artifact anew from those of now",
        r"给出当时的数据：--set data.source=文件，或用现在的数据重新训练",
    ),
    # of the exported file
    (r"the model's weights are in other files", r"模型的权重在其他文件中"),
    (r"one ONNX file with its weights inside", r"权重在内的单个 ONNX 文件"),
    (
        r"save it with onnx\.save\(model, path\), which puts them inside",
        r"用 onnx.save(model, path) 保存，权重便在文件之内",
    ),
    (r"is not an ONNX file", r"不是 ONNX 文件"),
    (r"none of the backends that were asked for can run it: {…}", r"指定的后端都无法运行它：{1}"),
    (
        r"leave compress\.backends out, or name onnxruntime among them",
        r"不要设置 compress.backends，或在其中列入 onnxruntime",
    ),
    (r"a first stage answers part of its rows, and would be lost", r"它的第一级回答一部分数据，压缩后会丢失"),
    (r"its files are packed, and were measured as they are", r"它的文件已打包，其各项测量都以此为准"),
    (r"compress the artifact that this one was made from", r"请压缩生成它的那个产物"),
    (
        r"the {N} validation rows are too few, or too much alike, to judge a model by",
        r"验证数据只有 {1} 行，太少或过于相似，无法评判模型",
    ),
    (r"its {…} on them", r"其上的 {1}"),
    (
        r"make the artifact anew with more of them: data\.split\.valid",
        r"用更多验证数据重新生成产物：data.split.valid",
    ),
    (r"leave phrases out", r"不要设置 phrases"),
    (
        r"a student without layers has no inner states to be near to its teacher's",
        r"没有层的学生模型没有内部状态可以接近教师模型",
    ),
    (
        r"at least 1, where hidden_weight or relation_weight is not 0",
        r"hidden_weight 或 relation_weight 不为 0 时，至少为 1",
    ),
    (r"is {…}, and {…} is at most 100", r"为 {1}，而 {2} 最多为 100"),
    (r"percent: 90", r"百分数：90"),
    (r"column {…} does not exist, and the model reads it", r"{1} 列不存在，而模型要读取它"),
    (r"rename {…} to it", r"把 {1} 改为这个名称"),
    (r"give rows with the columns that it was made from", r"提供含有训练时各列的数据"),
    (r"give rows to predict: --data FILE", r"提供要预测的数据：--data FILE"),
    (r"delete it, and the search counts its time anew", r"删除它，搜索会重新计时"),
    (r"the model has no weights that this step changes", r"模型中没有这一步要改变的权重"),
    (r"leave this step out for this model", r"对此模型去掉这一步"),
    (r"the compressed model's {…} has shape {…}, not {…}", r"压缩后模型的 {1} 形状为 {2}，而不是 {3}"),
    (r"the compressed model's answers are not numbers", r"压缩后模型的输出不是数值"),
    (r"onnxruntime {…} cannot run the model: {…}", r"onnxruntime {1} 无法运行模型：{2}"),
)
