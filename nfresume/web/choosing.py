"""The page on which files of the folders in `web_data` are chosen for a parameter of a form.

It is a step of the form itself: all that was typed travels along in hidden fields. So it needs no script, and
the server keeps nothing meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import HTMLResponse

from nfresume.domain.errors import NfresumeError
from nfresume.pipelines import parameters
from nfresume.pipelines.parameters import Parameter
from nfresume.service import data_folders
from nfresume.service.data_folders import Listing
from nfresume.service.verbs import Service
from nfresume.web.access import Visitor
from nfresume.web.rendering import page
from nfresume.web.sent import Sent

#: The fields of this page. `choose` is a button of the form, and names the parameter.
_OWN = ("csrf", "choose", "at", "open", "sort", "order", "find", "search", "start", "pick", "use", "back")
#: So many files can be chosen for a list.
_MOST = 500


def step(sent: Sent, declared: Iterable[Parameter], picked: Sequence[object]) -> Step:
    """The step that a form asks for."""
    name = sent.get("choose")
    known = next((p for p in declared if p.name == name), Parameter(name, path="any"))
    texts = dict.fromkeys(each for each in picked if isinstance(each, str))
    return Step(known, sent, tuple(texts)[:_MOST])


@dataclass(frozen=True)
class Step:
    """What the page was sent: the parameter, the files that are chosen, and the form's texts."""

    parameter: Parameter
    sent: Sent
    picked: tuple[str, ...]

    @property
    def many(self) -> bool:
        """True when the parameter is a list of files."""
        return self.parameter.type == "array"

    def answer(
        self, request: Request, who: Visitor, service: Service, action: str, title: str
    ) -> HTMLResponse | None:
        """The page; None when the choice is made, or was given up, and `sent` is the form to be shown."""
        sent, refused, found, status = self.sent, "", None, 200
        name = f"param.{self.parameter.name}"
        try:
            if sent.get("back") or (self.picked and (sent.get("use") or not self.many)):
                if not sent.get("back"):
                    paths = [data_folders.check(service.conf, path) for path in self.picked]
                    sent.texts[name] = self._added(sent.get(name), paths)
                sent.texts = self._kept()
                sent.focus = self.parameter.name
                return None
            found = self._listing(service)
        except NfresumeError as error:
            refused, status = str(error), error.http_status
        return page(
            request, "choose.html", status, user=who.user, account=service.account, csrf=who.csrf, step=self,
            kept=self._kept(), found=found, refused=refused, action=action, title=title,
            tops=data_folders.allowed(service.conf), page_size=data_folders.PAGE,
            most=data_folders.MOST_READ, most_sorted=data_folders.MOST_SORTED)

    def _kept(self) -> dict[str, str]:
        return {name: text for name, text in self.sent.texts.items() if name not in _OWN}

    def _added(self, before: str, paths: list[str]) -> str:
        """The text of the field with these paths: of a list, those that it has, and then these."""
        if not self.many:
            return paths[0]
        value = parameters.typed(before, "array") if before else []
        old = value if isinstance(value, list) else [value]
        return json.dumps(old + [path for path in paths if path not in old], ensure_ascii=False)

    def _listing(self, service: Service) -> Listing | None:
        """The page of the folder that was opened, or in which this one was; None: the allowed folders."""
        sent, conf = self.sent, service.conf
        if "open" in sent.texts:
            folder, find, start = sent.get("open"), "", "0"
        else:
            folder = sent.texts.get("at", data_folders.start_at(conf, self._last()))
            find, start = sent.get("find").strip(), sent.get("start", "0")
        sort = sent.get("order") or sent.get("sort") or "name"
        number = int(start) if start.isdecimal() and len(start) < 10 else 0
        return data_folders.listing(conf, folder, sort, find, number) if folder else None

    def _last(self) -> str:
        """The path in the field; the last one of a list."""
        text = self.sent.get(f"param.{self.parameter.name}")
        value = parameters.typed(text, self.parameter.type)
        return str(value[-1]) if isinstance(value, list) and value else text
