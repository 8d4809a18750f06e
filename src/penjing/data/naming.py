"""Column names people use, in English and Chinese, and the part each usually plays."""

from __future__ import annotations

TEXT = (
    "text", "sentence", "content", "review", "comment", "utterance", "query", "question", "message", "tweet", "post",
    "document", "description", "body", "article", "headline", "title", "summary", "review_body", "review_text", "正文",
    "文本", "内容", "评论", "评价", "句子", "问题", "新闻", "标题", "描述", "摘要", "評論", "內容", "文字",
)  # fmt: skip
LABEL = (
    "label", "labels", "target", "class", "category", "intent", "sentiment", "emotion", "polarity", "tag", "tags", "y",
    "topic", "stars", "rating", "score", "outcome", "default", "creditability", "gold", "标签", "类别", "分类", "情感",
    "情绪", "意图", "正负面", "评分", "得分", "类型", "標籤", "類別", "分類",
)  # fmt: skip
PAIRS = (
    ("text", "text_pair"), ("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"), ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"), ("question1", "question2"), ("premise", "hypothesis"),
    ("query", "document"), ("query", "passage"), ("question", "answer"), ("s1", "s2"), ("q1", "q2"), ("文本1", "文本2"),
    ("句子1", "句子2"), ("问题1", "问题2"),
)  # fmt: skip
SPANS = ("spans", "entities", "ner", "ents", "annotations", "实体")
SPLIT = ("split", "set", "fold", "subset", "partition", "划分")
ROW_ID = ("id", "row_id", "uid", "guid", "uuid", "idx", "index", "key", "no", "编号", "序号", "主键")
GROUP = ("group", "group_id", "组", "分组")
TIME = ("time", "timestamp", "date", "datetime", "created_at", "created", "published_at", "日期", "时间", "发布时间")

SPLIT_VALUES = {
    "train": "train", "training": "train", "训练": "train", "训练集": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "验证": "valid", "验证集": "valid",
    "test": "test", "testing": "test", "eval": "test", "测试": "test", "测试集": "test",
}  # fmt: skip

_KNOWN = {name for names in (TEXT, LABEL, SPANS, SPLIT, ROW_ID, GROUP, TIME) for name in names} | {
    name for pair in PAIRS for name in pair
}


def plain(name: str) -> str:
    """A column name in the form the tables above use."""
    return name.split(":")[0].strip().lower().replace(" ", "_").replace("-", "_")


def is_known_name(name: str) -> bool:
    """Whether people use this word to name a column."""
    return plain(name) in _KNOWN
