"""Rows that every task, backend and compressing method has to stand."""

STRANGE = [
    "",
    " ",
    "快递什么时候能到？",
    "🙂👩‍👩‍👧",
    "مرحبا بالعالم",
    "e\u0301 \u00e9",
    "\x00\x01",
    "\ud800",
    "a" * 5000,
    "<script>",
]


def strange_rows(task, rows):
    """Inputs as the world sends them: every text column strange, every feature missing or unseen."""
    texts = [column for column in (task.roles.text, task.roles.text_pair) if column]
    if texts:
        return [{**dict.fromkeys(texts, text)} for text in STRANGE]
    texts = [name for name in task.roles.features if isinstance(rows[0][name], str)]
    return [
        {**dict.fromkeys(task.roles.features, number), **dict.fromkeys(texts, text)}
        for number in (None, "", 1e30, -1)
        for text in (None, "unseen 值")
    ]
