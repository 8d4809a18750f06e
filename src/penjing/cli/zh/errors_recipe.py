"""Errors of the recipe: its keys and values, and names that the registry does not have."""

from __future__ import annotations

_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"

SENTENCES: tuple[tuple[str, str], ...] = (
    # the file
    (r"no such recipe file", r"没有这个配方文件"),
    (r"a short YAML file", r"简短的 YAML 文件"),
    (r"not valid YAML: {…}", r"不是有效的 YAML：{1}"),
    (r"correct the YAML", r"更正 YAML"),
    (r"nested too deeply", r"嵌套过深"),
    (r"a mapping of keys as in docs/recipe\.md", r"docs/recipe.md 所列的键和值"),
    (r"a recipe is a mapping of keys, not {type}", r"配方应由键和值组成，而不是{1}"),
    (r"see the recipe reference in docs/recipe\.md", r"参见 docs/recipe.md 中的配方说明"),
    # its keys
    (r"unknown key ('[^']*'), did you mean ('[^']*')\?", r"未知的键 {1}（是否应为 {2}？）"),
    (r"unknown key ('[^']*'), accepted: {…}", r"未知的键 {1}，可用的有 {2}"),
    (r"unknown key ('[^']*'), accepted: ", r"未知的键 {1}"),
    # What was given can hold anything, also what ends it here; what is said of it begins with few words.
    (
        r"('[\w.\[\], -]+') = (?P<given>.+?): (?P<sentence>(?:value error|input|string|tuple|field|extra)\b.+)",
        r"{1} = {2}：{3}",
    ),
    (r"('[\w.\[\], -]+') = {…}: {=}", r"{1} = {2}：{3}"),
    (r"correct these keys \(docs/recipe\.md lists all\)", r"更正这些键（docs/recipe.md 列有所有的键）"),
    (r"correct this key \(docs/recipe\.md lists all\)", r"更正这个键（docs/recipe.md 列有所有的键）"),
    # what pydantic says of a value; its first letter is small within a sentence
    (r"[Vv]alue error, {=}", r"{1}"),
    (r"[Ff]ield required", r"缺少这个键"),
    (r"[Ee]xtra inputs are not permitted", r"没有这个键"),
    (r"[Ii]nput should be a finite number", r"应为有限的数"),
    (r"[Ii]nput should be a valid boolean(?:, unable to interpret input)?", r"应为 true 或 false"),
    (r"[Ii]nput should be a valid integer, got a number with a fractional part", r"应为整数，不能带小数"),
    (r"[Ii]nput should be a valid integer(?:, unable to parse string as an integer)?", r"应为整数"),
    (r"[Ii]nput should be a valid number(?:, unable to parse string as a number)?", r"应为数字"),
    (r"[Ii]nput should be a valid string", r"应为文字"),
    (r"[Ii]nput should be a valid (?:list|tuple)", r"应为列表"),
    (r"[Ii]nput should be a valid dictionary(?: or instance of \w+)?", r"应由键和值组成"),
    (rf"[Ii]nput should be greater than or equal to {_NUMBER}", r"不得小于 {1}"),
    (rf"[Ii]nput should be less than or equal to {_NUMBER}", r"不得大于 {1}"),
    (rf"[Ii]nput should be greater than {_NUMBER}", r"必须大于 {1}"),
    (rf"[Ii]nput should be less than {_NUMBER}", r"必须小于 {1}"),
    (r"[Ii]nput should be ('[^;]+') or ('[^']+')", r"应为 {1} 或 {2}"),
    (r"[Ii]nput should be ('[^']+')", r"应为 {1}"),
    (r"[Ss]tring should have at most {N} characters?", r"不得超过 {1} 个字符"),
    (r"[Ss]tring should have at least {N} characters?", r"至少须有 {1} 个字符"),
    (r"[Tt]uple should have at most {N} items? after validation, not {…}", r"不得超过 {1} 项，现有 {2} 项"),
    (r"[Tt]uple should have at least {N} items? after validation, not {…}", r"至少须有 {1} 项，现有 {2} 项"),
    (r"no text encoding is called {…}", r"没有名为 {1} 的文本编码"),
    (
        r"holds a password; write \$\{NAME\} in its place and set that environment variable",
        r"含有密码；请以 ${{NAME}} 代替，并设置该环境变量",
    ),
    # names and settings of the machine
    (r"unknown (task|stage|backend) {…}", r"未知的{1} {2}"),
    (r"unknown model {…}", r"没有名为 {1} 的预训练模型"),
    (
        r"a directory, a hub id \(organisation/model\), or one of {…}",
        r"目录、模型站 ID（organisation/model），或 {1} 之一",
    ),
    (r"no such model directory", r"没有这个预训练模型的目录"),
    (r"a number of threads, at least 1", r"线程数，至少为 1"),
    (r"process {N} of this machine has no GPU of its own", r"本机的第 {1} 个进程没有自己的 GPU"),
    (r"at most as many processes as GPUs, here {N}", r"进程数不多于 GPU 数，此处为 {1}"),
    (
        r"start torchrun with --nproc-per-node {N}, or set CUDA_VISIBLE_DEVICES= to train on the CPU",
        r"用 --nproc-per-node {1} 启动 torchrun，或设置 CUDA_VISIBLE_DEVICES= 以在 CPU 上训练",
    ),
)
