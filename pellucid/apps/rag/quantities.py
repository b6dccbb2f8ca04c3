"""Numbers with their units in a sentence, each in its kind's first unit.

    quantities("The hall seats 1,200 people and is 0.5 km long")
    # (Quantity(1200.0, "person", ...), Quantity(500.0, "metre", ...))

English numbers in words to ninety-nine, thousand to billion; Chinese ones before a measure word. A number before an
ordinary word has that word (its stem) for a kind: ``40 paintings``. One before none has the kind "".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pellucid.apps.rag.content import HAN, content

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
)
_ONES += "eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {w: k for k, w in enumerate(_ONES.split())} | {w: 10 * k for k, w in enumerate(_TENS.split(), 2)}
SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "百": 1e2, "千": 1e3, "万": 1e4, "亿": 1e8}
#: Names of units -> (kind, how many of the kind's first unit).
UNITS: dict[str, tuple[str, float]] = {}
for _kind, _names in {
    "metre": {
        1.0: "metre meter m 米",
        1e3: "kilometre kilometer km 公里 千米",
        0.01: "centimetre centimeter cm 厘米",
        1e-3: "millimetre millimeter mm 毫米",
        1609.344: "mile 英里",
        0.3048: "foot feet ft 英尺",
        0.0254: "inch inches 英寸",
        0.9144: "yard 码",
    },
    "gram": {1.0: "gram g 克", 1e3: "kilogram kg 公斤 千克", 1e6: "tonne ton 吨", 453.59237: "pound lb lbs 磅"},
    "second": {
        1.0: "second s 秒",
        60.0: "minute min 分钟",
        3600.0: "hour hr h 小时",
        86400.0: "day 天",
        604800.0: "week 周 星期",
    },
    "year": {1.0: "year 年 岁", 1 / 12: "month 个月", 100.0: "century centuries 世纪"},
    "percent": {1.0: "percent % ％"},
    "degree": {1.0: "degree °C °F ° 度"},
    "byte": {1e3: "kb kB KB", 1e6: "mb MB", 1e9: "gb GB"},
    "person": {1.0: "people person persons inhabitant resident 人 名 位"},
    "dollar": {1.0: "dollar $ 美元"},
    "euro": {1.0: "euro € 欧元"},
    "yuan": {1.0: "yuan ¥ ￥ 元 块"},
    "clock": {},
}.items():
    for _factor, _list in _names.items():
        UNITS |= dict.fromkeys(_list.split(), (_kind, _factor))
_MEASURES = "个座幅本册层间种次条台辆家所支项篇页张只把棵头匹艘架套份句章节步轮届"
_CHINESE_UNITS = sorted((u for u in UNITS if re.match(rf"[{HAN}]", u)), key=len, reverse=True)
_DIGITS = "零一二三四五六七八九"
_HAN_NUMBER = r"[〇零一二两三四五六七八九十百千]+"
_UNIT_HAN = "|".join([*_CHINESE_UNITS, *_MEASURES])
_EN = "|".join(sorted(WORDS, key=len, reverse=True))
_CLOCK = re.compile(
    r"(?<![\d:])(?P<h>[01]?\d|2[0-4])(?::(?P<m>[0-5]\d))?\s?(?P<half>[ap])\.?m\b\.?|"
    r"(?<![\d:])(?P<h2>[01]?\d|2[0-4]):(?P<m2>[0-5]\d)(?![\d:])|"
    r"(?P<part>上午|早上|下午|晚上)?(?P<h3>[01]?\d|2[0-4])[点點](?:(?P<m3>[0-5]?\d)分?|(?P<thirty>半))?",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?P<money>[$€¥￥])?\s?(?<![A-Za-z0-9_./\-])(?P<n>[-−]?\d+(?:,\d{3})*(?:\.\d+)?)(?![\d_/]|\.\d)"
    r"|(?<![\w-])(?P<en>(?:" + _EN + r")(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?)(?![\w-]|\s+of\b)"
    rf"|(?<![第{_DIGITS}十百千])(?P<zh>{_HAN_NUMBER})(?=(?:[万亿]?(?:{_UNIT_HAN})))",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"(?:\s?(?P<scale>[百千万亿]+|(?:hundred|thousand|million|billion)\b))?(?:[\s-]?(?P<unit>{_UNIT_HAN}|[%％]|°[CF]?)|"
    r"(?P<gap>[\s-]?)(?P<word>[A-Za-z]+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """``value`` in the first unit of ``kind``; ``text`` as it is written, from character ``start``."""

    value: float
    kind: str
    text: str
    start: int


def quantities(sentence: str) -> tuple[Quantity, ...]:
    """The quantities of ``sentence``, in order."""
    found: list[Quantity] = []
    rest = sentence
    for m in _CLOCK.finditer(sentence):
        hour = int(m["h"] or m["h2"] or m["h3"])
        minute = int(m["m"] or m["m2"] or m["m3"] or (30 if m["thirty"] else 0))
        late = (m["half"] or "").lower() == "p" or m["part"] in ("下午", "晚上")
        early = (m["half"] or "").lower() == "a" or m["part"] in ("上午", "早上")
        hour = hour % 12 if (late or early) and hour <= 12 else hour
        found.append(Quantity(60.0 * (hour + 12 * late) + minute, "clock", m[0], m.start()))
        rest = rest[: m.start()] + "\0" * len(m[0]) + rest[m.end() :]
    for m in _NUMBER.finditer(rest):
        q = _quantity(rest, m)
        if q is not None:
            found.append(q)
    return tuple(sorted(found, key=lambda q: q.start))


def _quantity(text: str, m: re.Match[str]) -> Quantity | None:
    value = _value(m)
    after = _AFTER.match(text, m.end())
    end, kind, factor = m.end(), "", 1.0
    start = m.start() + len(m[0]) - len(m[0].lstrip())
    if after is not None:
        for mark in re.findall(r"[百千万亿]|[A-Za-z]+", after["scale"] or ""):
            value *= SCALES[mark.lower()]
        end = after.end("scale") if after["scale"] else end
        word = after["word"]
        if after["unit"]:
            kind, factor = UNITS.get(after["unit"], (after["unit"], 1.0))
            end = after.end("unit")
        elif word:
            known = _unit(word)
            if known is not None:
                kind, factor = known
                end = after.end("word")
            elif not after["gap"]:
                return None  # 3D, 5th: part of a word
            else:  # what is counted stays among the words
                kind = next(iter(content(word)), "")
    if m["money"]:
        kind, factor = UNITS[m["money"]]
    if m["en"] and not kind:
        return None  # "one" by itself points at something, and counts nothing
    return Quantity(value * factor, kind, text[start:end], start)


def _unit(word: str) -> tuple[str, float] | None:
    if word in UNITS:
        return UNITS[word]
    low = word.lower()
    return UNITS.get(low if len(low) > 1 else "", UNITS.get(low.removesuffix("s") if len(low) > 3 else ""))


def _value(m: re.Match[str]) -> float:
    if m["n"]:
        return float(m["n"].replace(",", "").replace("−", "-"))
    if m["en"]:
        return float(sum(WORDS[w] for w in re.split(r"[- ]", m["en"].lower())))
    total, digit = 0, 0
    numeral = m["zh"].replace("〇", "零").replace("两", "二")
    for c in numeral:
        if c in _DIGITS:
            digit = _DIGITS.index(c)
        else:
            total += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[c]
            digit = 0
    return float(total + digit)
