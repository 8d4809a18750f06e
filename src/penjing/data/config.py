"""What a recipe says about data: where it is, how to read it, which column plays which part, how to split it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from penjing.core.errors import RecipeError

FormatKind = Literal["auto", "csv", "jsonl", "json", "parquet", "excel", "folder", "lines", "conll"]
_PASSWORD_IN_URL = re.compile(r"^[a-z][a-z0-9+]*://[^/:]*:(?!\$\{\w+\}@)[^@]+@", re.IGNORECASE)
_PASSWORD_IN_QUERY = re.compile(r"^[a-z][a-z0-9+]*://.*[?&;](password|passwd|pwd)=(?!\$\{\w+\}(&|;|$))", re.IGNORECASE)


class FormatConfig(BaseModel):
    """How bytes become rows; what is "auto" or None is detected, and said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FormatKind = Field(
        "auto", description="File format; csv covers every delimited text, conll a token and its tag a line."
    )
    encoding: str | None = Field(None, description="Text encoding (utf-8, gb18030, latin-1, ...).")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="One character between fields.")
    quoted: bool | None = Field(None, description='Whether double quotes enclose fields ("a, b").')
    header: bool | tuple[str, ...] | None = Field(
        None, description="Whether the first line names the columns, or the names themselves."
    )
    sheet: str | None = Field(None, description="Excel sheet; the first one when not given.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "".encode(value)
            except LookupError:
                raise ValueError(f"no text encoding is called {value!r}") from None
        return value


class ColumnsConfig(BaseModel):
    """Which column plays which part; what is None is inferred."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None = Field(None, description="The text, or the first text of a pair.")
    text_pair: str | None = Field(None, description="The second text of a pair.")
    label: str | None = Field(None, description="What is to be predicted.")
    spans: str | None = Field(
        None, description='List of {"start", "end", "label"} or [start, end, label] (token classification).'
    )
    features: tuple[str, ...] | None = Field(None, description="Feature columns of tabular tasks.")
    group: str | None = Field(
        None, description="Rows of one group stay in one split, unless split by time or as given."
    )
    time: str | None = Field(None, description="Rows are split in this order.")
    row_id: str | None = Field(None, description="The row's own key.")
    split: str | None = Field(None, description="A column that says train, valid or test.")
    label_separator: str | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="Between the labels of a multi-label cell; empty cells then mean none.",
    )
    empty_is_none: bool | None = Field(
        None, description="Whether empty multi-label cells mean none; None: where label_separator is set."
    )

    @property
    def names(self) -> frozenset[str]:
        """Every column named here."""
        return frozenset(name for names in self.by_role().values() for name in names)

    def by_role(self) -> dict[str, tuple[str, ...]]:
        """Role → the columns named for it."""
        given = {role: value for role, value in self if role not in {"label_separator", "empty_is_none"} and value}
        return {role: value if isinstance(value, tuple) else (value,) for role, value in given.items()}


class SplitConfig(BaseModel):
    """How rows are held out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Literal["auto", "given", "stratified", "grouped", "time"] = Field(
        "auto", description="auto: given when a split is given, grouped with a group column, time with a time column."
    )
    test: float = Field(0.2, gt=0, lt=0.9, description="Fraction of the rows held out for the test.")
    valid: float = Field(0.1, gt=0, lt=0.9, description="Fraction of the remaining rows held out for validation.")
    max_valid: int = Field(
        500, ge=1, description="Validation rows, at most: more say little that is new, and would be missed in training."
    )
    drop_leaks: bool = Field(
        False,
        description="Given splits: drop rows whose text is also held out, validation rows of the test too.",
    )


class LimitsConfig(BaseModel):
    """Bounds checked while reading, so that a wrong file fails early instead of filling the memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_rows: int = Field(5_000_000, ge=1, description="Rows held in memory.")
    max_columns: int = Field(5_000, ge=1, description="Columns of a row.")
    max_cell_chars: int = Field(1_000_000, ge=1, le=100_000_000, description="Characters of one cell.")


class DataConfig(BaseModel):
    """The data stage of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(
        None, description="A file, a folder per class, an SQL URL, hub:ID, or the name of a demo data set."
    )
    query: str | None = Field(None, max_length=100_000, description="SELECT statement, when the source is an SQL URL.")
    test: str | None = Field(None, description="A separate test source, held out as it is.")
    valid: str | None = Field(None, description="A separate validation source.")
    unlabelled: str | None = Field(
        None, description="Further texts without labels: for continued pretraining, and for students to learn from."
    )
    rare_classes: Literal["error", "drop"] = Field("error", description="What to do with classes of one row.")
    format: FormatConfig = Field(default_factory=FormatConfig, description="How bytes become rows.")
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig, description="Which column plays which part.")
    split: SplitConfig = Field(default_factory=SplitConfig, description="How rows are held out.")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="Bounds while reading.")

    @classmethod
    def of(cls, source: str, like: DataConfig | None = None) -> DataConfig:
        """For a source named outside a recipe.

        Args:
            source: as in a recipe.
            like: settings of earlier data, which hold for this source too; the defaults where None.

        Raises:
            RecipeError: it holds a password; the message does not repeat it.
        """
        try:
            return (like or cls()).model_copy(update={"source": cls(source=source).source})
        except ValidationError as error:
            finding = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise RecipeError(finding, where="the data source") from None

    @field_validator("source", "test", "valid", "unlabelled")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        """A recipe is stored in every artifact, so a password must not be written in it."""
        if value is not None and (_PASSWORD_IN_URL.match(value) or _PASSWORD_IN_QUERY.match(value)):
            raise ValueError("holds a password; write ${NAME} in its place and set that environment variable")
        return value
