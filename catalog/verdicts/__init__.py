"""Verdicts: decisions of staff about suspected duplicates and wrong categories, in a relational database."""

from catalog.verdicts.questions import DecidedDuplicates, Decision, Duplicate, Kind, Question, Verdict, WrongCategory
from catalog.verdicts.store import VerdictStore

__all__ = [
    "DecidedDuplicates",
    "Decision",
    "Duplicate",
    "Kind",
    "Question",
    "Verdict",
    "VerdictStore",
    "WrongCategory",
]
