"""Errors of training: its settings, memory and checkpoints, the export, what selecting and quoting measure."""

from __future__ import annotations

SENTENCES: tuple[tuple[str, str], ...] = (
    # settings
    (r"this task's trainer \((\w+)\) has no linear head to fit", r"该任务的训练器（{1}）没有可拟合的线性头"),
    (
        r"the loss of this task's trainer \((\w+)\) couples the rows of a batch, which must not be divided",
        r"该任务的训练器（{1}）的损失涉及整批数据，批次不能拆开",
    ),
    (r"1, in a single process", r"1，且为单个进程"),
    (r"the loss {…} does not fit the targets of {…}", r"损失 {1} 不适用于 {2} 的目标"),
    (r"the tokenizer of {…} has no mask token to hide tokens with", r"{1} 的分词器没有用于遮盖的词元"),
    (
        r"{…} ha(?:ve|s) no meaning for this task's trainer \((\w+)\)",
        r"{1} 对该任务的训练器（{2}）没有意义",
    ),
    (r"leave it out", r"去掉该设置"),
    (r"leave them out", r"去掉这些设置"),
    (r"this encoder has no list of layers", r"这个编码器没有分层"),
    (r"the encoder has {N} layers, {…} were to be trained", r"编码器有 {1} 层，却要训练 {2} 层"),
    (r"the encoder has {N} layers, {…} were to be frozen", r"编码器有 {1} 层，却要冻结 {2} 层"),
    (r"less than {N}, or method probe", r"小于 {1}，或用 method probe"),
    (r"layers above trained embeddings cannot be frozen", r"训练词嵌入时，其上的层不能冻结"),
    (r"this device cannot multiply in fp16: {…}", r"该设备不能以 fp16 相乘：{1}"),
    (
        r"its tokenizer has no mask token, which masked language modelling needs",
        r"其分词器没有遮盖词元，而掩码语言建模需要它",
    ),
    (r"set train\.pretrain\.epochs to 0", r"设 train.pretrain.epochs 为 0"),
    # memory and divergence
    (
        r"training this model needs at least {…} GB of memory, and {…} GB are free",
        r"训练这个模型至少需要 {1} GB 内存，可用的有 {2} GB",
    ),
    (
        r"use train\.method lora, last-k or probe, or choose a smaller model \(penjing models\)",
        r"改用 train.method lora、last-k 或 probe，或选更小的模型（penjing models）",
    ),
    (
        r"training diverged: the gradient of step {…} is not finite \(loss {…}\)",
        r"训练发散：第 {1} 步的梯度不是有限的数（损失 {2}）",
    ),
    (
        r"lower it, or set train\.precision to fp32; then run again with --overwrite",
        r"将其调低，或设 train.precision 为 fp32，再加 --overwrite 重新运行",
    ),
    (r"{N} training rows", r"只有 {1} 行训练数据"),
    (r"a split of type {…} with missing {…}", r"分裂类型为 {1}，缺失值类型为 {2}"),
    (r"numeric splits, as the trainer makes them", r"训练器所用的数值分裂"),
    # what is kept of a training
    (
        r"the checkpoint belongs to a run with other settings, data or number of processes",
        r"检查点属于另一次运行，其设置、数据或进程数不同",
    ),
    (r"the checkpoint was written by another release \({…}\)", r"检查点由另一个版本写出（{1}）"),
    (r"the checkpoint is damaged \({…}\)", r"检查点已损坏（{1}）"),
    (r"delete it to train from the start", r"删除它，从头训练"),
    (r"was pretrained on other texts or with other settings", r"是用其他文本或其他设置预训练的"),
    (r"delete it to pretrain from the start", r"删除它，从头预训练"),
    (r"the time of the pretraining cannot be read \({…}\)", r"无法读取预训练所用的时间（{1}）"),
    (
        r"delete {…} in the directory above to pretrain again",
        r"删除上级目录中的 {1}，重新预训练",
    ),
    (r"the plan is damaged \({…}\)", r"训练计划已损坏（{1}）"),
    (r"delete it to plan anew", r"删除它，重新计划"),
    # the export
    (r"this model cannot be exported to ONNX: {…}", r"这个模型无法导出为 ONNX：{1}"),
    (r"choose another pretrained model \(penjing models\)", r"换一个预训练模型（penjing models）"),
    (r"the export's {…} has shape {…}, torch's {…}", r"导出模型的 {1} 形状为 {2}，torch 的为 {3}"),
    (
        r"the export differs from the trained model by {…} \(tolerance {…}\)",
        r"导出模型与训练所得相差 {1}（容差 {2}）",
    ),
    (
        r"report this model; meanwhile raise export\.tolerance if the difference is acceptable",
        r"请报告这个模型；若差异可以接受，可先调高 export.tolerance",
    ),
    # selecting
    (r"the rows are too few to try {…} on \({N}\)", r"数据太少（{2} 行），无法试训 {1}"),
    (r"{N} held out, and two batches of {N} in all passes", r"留出 {1} 行，且全部轮次合计够两批（每批 {2} 行）"),
    (
        r"label more rows, or train without: penjing run, with --model to choose one",
        r"再标注一些数据，或不经试训直接训练：penjing run，用 --model 指定模型",
    ),
    (
        r"trains {…} rows/s, too slow to be tried in {…} s",
        r"每秒训练 {1} 行，太慢，{2} 秒内试不出结果",
    ),
    (
        r"{…} trains {…} rows/s, too slow to be tried in {…} s",
        r"{1} 每秒训练 {2} 行，太慢，无法在 {3} 秒内试训",
    ),
    (
        r"allow more time \(select\.model_seconds, select\.quote_seconds\) or shorten rows \(train\.max_length\)",
        r"放宽时间（select.model_seconds、select.quote_seconds），或缩短文本（train.max_length）",
    ),
    # compressing
    (r"a student with {…} {…} of a teacher with {…}", r"学生模型的 {1} 为 {2}，而教师模型只有 {3}"),
    (
        r"phrases are pooled into a text's vector, and this task has none",
        r"短语特征要汇入整条文本的向量，而此任务没有这样的向量",
    ),
    (r"a width of {…} is no number of heads of {…}", r"宽度 {1} 不是注意力头宽 {2} 的整数倍"),
    (r"a multiple of {…}", r"{1} 的整数倍"),
    (r"layers of other architectures than BERT cannot be changed", r"BERT 以外的架构，其网络层无法更改"),
    (r"this model has no layers to change", r"该模型没有可更改的网络层"),
    (r"only BERT encoders can be made smaller", r"只有 BERT 类编码器可以缩小"),
    (r"the vocabulary of a {…} tokenizer cannot be pruned", r"{1} 分词器的词表无法裁剪"),
    (r"WordPiece, Unigram or BPE", r"WordPiece、Unigram 或 BPE"),
    (
        r"to keep {…} of the (energy|ratio), no matrix is of a rank that takes fewer weights",
        r"要保留 {1} 的 {2}，没有一个矩阵的秩低到能减少权重",
    ),
    (r"lower it", r"请调低它"),
    (r"a {…} model has no layers", r"{1} 模型没有网络层"),
    (r"{…} does not fit {…}: {…}", r"{1} 与 {2} 不符：{3}"),
)
