"""The status page: one HTML file, no scripts, readable on a phone.

Spec: auditlog/spec/monitor.md, "Status". Promises: the first line a reader sees says whether something is
wrong; what was not checked is on the page. Must never: write a stranger's text unescaped, or fetch anything.
"""

from __future__ import annotations

from html import escape
from typing import Any

from auditlog.verify.finding import ALARMS, AlarmClass
from auditlog.verify.monitor.beside import DISAGREES, SAME
from auditlog.verify.monitor.status import LogStatus
from auditlog.verify.wording import printable

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--bad:#c0261c;--ok:#1a7f37;--open:#9a6700}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:62rem;overflow-wrap:anywhere}
h1{font-size:1.25rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:0}h3{font-size:1rem;margin:1rem 0 .25rem}
section{border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
.verdict{font-weight:600;margin:.25rem 0 1rem}
.bad{color:var(--bad)}.ok{color:var(--ok)}.open{color:var(--open)}
@media(prefers-color-scheme:dark){:root{--bad:#ff7b72;--ok:#56d364;--open:#e3b341}}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:0}
dt{font-size:.8rem;opacity:.75}dd{margin:0;font-variant-numeric:tabular-nums}
ul{margin:.25rem 0;padding-left:1.2rem}li{margin:.25rem 0}
progress{width:100%}footer,small{font-size:.8rem;opacity:.75}
"""


def page(statuses: list[LogStatus], alarms: list[dict[str, Any]]) -> str:
    """The whole page."""
    body = [f"<h1>auditlog monitor: {_summary(statuses)}</h1>"]
    body += [
        _log(status, [line for line in alarms if line["origin"] == status.origin]) for status in statuses
    ]
    if not statuses:
        body.append("<p>The first look has not ended yet.</p>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="refresh" content="15">'
        f"<title>auditlog monitor</title><style>{_STYLE}</style></head><body>"
        f"{''.join(body)}<footer>Proven, where an evidence file shows it to anyone; stated, where only this "
        "monitor saw it. Also: <code>/status.json</code>, <code>/metrics</code>.</footer></body></html>"
    )


def _summary(statuses: list[LogStatus]) -> str:
    wrong = sum(status.has_alarms for status in statuses)
    if wrong:
        return f'<span class="bad">something is wrong with {wrong} of {len(statuses)} log(s)</span>'
    if statuses and not any(status.note for status in statuses):
        return '<span class="open">nothing could be checked</span>'
    if any(status.unread or not status.is_current for status in statuses):
        return '<span class="open">not everything could be checked</span>'
    return f'<span class="ok">{len(statuses)} log(s), nothing wrong found</span>'


def _log(status: LogStatus, alarms: list[dict[str, Any]]) -> str:
    parts = [
        f"<h2>{_text(status.origin)}</h2>{_verdict(status)}",
        _numbers(status),
        f'<progress max="{max(status.signed_size, 1)}" value="{status.entries_size or status.tree_size}" '
        'aria-label="entries checked"></progress>' if not status.is_current else "",
        _listed("Alarms", [_alarm(line) for line in alarms]),
        _listed("Not checked", [_text(text) for text in status.unread]),
        _listed("Witnesses and other monitors", [_other(status, at) for at in range(len(status.others))]),
        _listed("What nobody here looked at", [_text(text) for text in status.reservations]),
        _listed("Remarks (stated by the producers)", [_text(text) for text in status.remarks[:10]]),
    ]  # fmt: skip
    return f"<section>{''.join(parts)}</section>"


def _verdict(status: LogStatus) -> str:
    if status.has_alarms:
        return '<p class="verdict bad">Something is wrong: see the alarms.</p>'
    if not status.note:
        return '<p class="verdict open">Nothing could be checked: no checkpoint was read and borne out.</p>'
    if status.unread or not status.is_current:
        return '<p class="verdict open">Nothing wrong was found in what could be checked.</p>'
    return '<p class="verdict ok">Nothing wrong was found.</p>'


def _numbers(status: LogStatus) -> str:
    cells = [
        ("entries signed", f"{status.signed_size:,}"),
        ("tree checked", f"{status.tree_size:,}"),
        ("entries read", f"{status.entries_size:,}"),
        ("decisions", f"{status.kinds.get('decision', 0):,}"),
        ("producers", f"{status.producers:,}"),
        ("anchors compared", f"{status.anchors_checked:,}"),
        ("cosigned by", ", ".join(status.cosigned) or "nobody known"),
        ("newest checkpoint seen", _short(status.seen)),
        ("last whole look", _short(status.looked)),
    ]
    if status.promises:
        cells.append(("promises", ", ".join(f"{n} {word}" for word, n in status.promises.items())))
    return "<dl>" + "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in cells) + "</dl>"


def _alarm(line: dict[str, Any]) -> str:
    is_notice = ALARMS[line["alarm"]].kind is AlarmClass.NOTICE
    word = f'<strong class="{"open" if is_notice else "bad"}">{_text(line["alarm"])}</strong>'
    return (
        f"{word} {_text(line['says'])} {_text(line['detail'])} "
        f"<small>({_text(line['grade'])}; {_text(_short(line['time']))}; no. {int(line['id'])})</small>"
    )


def _other(status: LogStatus, at: int) -> str:
    other = status.others[at]
    text = _text(other.sentence)
    if other.problem or other.state != SAME:
        text = f'<span class="{"bad" if other.state == DISAGREES else "open"}">{text}</span>'
    return f"{_text(other.kind)} {_text(other.name)}: {text}"


def _listed(title: str, items: list[str]) -> str:
    if not items:
        return ""
    return f"<h3>{title}</h3><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _short(time: str) -> str:
    return f"{time[:10]} {time[11:19]} UTC" if time else "never"


def _text(value: str) -> str:
    return escape(printable(value, 600))
