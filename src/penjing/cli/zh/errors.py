"""All errors, in the order in which they are looked at: of two patterns that fit, the more specific one comes first."""

from __future__ import annotations

from penjing.cli.zh import (
    errors_artifact,
    errors_cli,
    errors_columns,
    errors_common,
    errors_compress,
    errors_data,
    errors_fetch,
    errors_recipe,
    errors_train,
)

SENTENCES: tuple[tuple[str, str], ...] = (
    *errors_cli.SENTENCES,
    *errors_recipe.SENTENCES,
    *errors_data.SENTENCES,
    *errors_columns.SENTENCES,
    *errors_artifact.SENTENCES,
    *errors_fetch.SENTENCES,
    *errors_train.SENTENCES,
    *errors_compress.SENTENCES,
    *errors_common.SENTENCES,
)
