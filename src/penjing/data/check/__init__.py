"""What is wrong with the data: counts, examples, and what to do about each."""

from penjing.data.check.report import CheckReport, Finding
from penjing.data.check.run import check, check_source
from penjing.data.check.texts import ModelTokens, TokensOf

__all__ = ["CheckReport", "Finding", "ModelTokens", "TokensOf", "check", "check_source"]
