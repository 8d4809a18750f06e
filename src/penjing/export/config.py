"""The `export` key of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ExportConfig(BaseModel):
    """How the trained model becomes a file that predicts without torch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opset: int = Field(18, ge=18, le=23, description="ONNX operator set.")
    tolerance: float = Field(
        1e-3, gt=0, description="Greatest difference of any output from torch's (fp32) before the export fails."
    )
    parity_rows: int = Field(128, ge=1, le=100_000, description="Validation rows compared.")
