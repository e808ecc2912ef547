"""The texts of a form that may be refused: then it is shown again, with all that was typed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile

from nfresume.domain.errors import NfresumeError

#: Which field an error is about: words of its message or hint.
_FIELDS = (("hours", r"\bhours\b|expiration"), ("profiles", r"\bprofile\b"), ("revision", r"\brevision\b"),
           ("from_scratch", r"--from-scratch|full rerun"), ("jobs_are_gone", r"--jobs-are-gone"),
           ("params", r"\bJSON\b"), ("pipeline", r"\bpipeline\b|not a file|no main\.nf"))
#: What a form has for an option of the command line.
_BOXES = {"--from-scratch": '"run every task again"', "--jobs-are-gone": '"no grid job is running"'}


@dataclass
class Sent:
    """The texts of a form, with the reason why it was refused and the field that this is about.

    `problems` are what is wrong with parameters, by name. `files` are the names of uploads: a browser does
    not send them again. `focus` is the parameter whose field has the focus when the form is shown.
    """

    texts: dict[str, str] = field(default_factory=dict)
    error: str = ""
    hint: str = ""
    where: str = ""
    status: int = 400
    problems: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    focus: str = ""

    @classmethod
    def of(cls, form: FormData) -> Sent:
        """The texts and files of a form, with line ends as a page has them."""
        files = [value.filename for value in form.getlist("file") if isinstance(value, UploadFile)]
        texts = {name: value.replace("\r\n", "\n") for name, value in form.items() if isinstance(value, str)}
        return cls(texts, files=tuple(name for name in files if name))

    def get(self, name: str, other: str = "") -> str:
        return self.texts.get(name, other)

    def error_of(self, name: str) -> str:
        """What is wrong with a field."""
        problem = self.problems.get(name.removeprefix("param.")) if name.startswith("param.") else None
        return problem or (self.error if self.where == name else "")

    def hint_of(self, name: str) -> str:
        """What to do about it."""
        return self.hint if self.where == name else ""

    def refuse(self, error: NfresumeError, names: list[str]) -> None:
        """Note why the form was refused; `names` are those of its parameters."""
        self.error, self.hint, self.status = error.message, error.hint, error.http_status
        about = f"{error.message} {error.hint}"
        for option, box in _BOXES.items():
            self.hint = re.sub(rf"(\badd )?{option}\b", f"tick {box}", self.hint)
        named = re.search(r"\bparameter (\S+?)\b[ :]", about)
        if named and named[1] in names:
            self.where = f"param.{named[1]}"
        elif self.get("pipeline") and self.get("pipeline") in about:
            self.where = "pipeline"
        else:
            self.where = next((name for name, words in _FIELDS if re.search(words, about)), "")
