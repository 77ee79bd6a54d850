"""Strings on which implementations of text disagree, and a seeded generator of more over all planes of Unicode."""

from __future__ import annotations

import random
from collections.abc import Callable

SEED = 31
# Every character that some definition calls a space, a separator, a control, a format or a joiner.
ODD = [
    *(chr(i) for i in range(0x21)), "\x7f", "\x80", "\x85", "\x9f", "\xa0", "\xad", "\u034f", "\u061c",
    "\u115f", "\u1160", "\u1680", "\u17b4", "\u180e", *(chr(i) for i in range(0x2000, 0x2010)), "\u2028",
    "\u2029", *(chr(i) for i in range(0x202A, 0x2030)), "\u205f", "\u2060", "\u2066", "\u2069", "\u2800",
    "\u3000", "\u3164", "\ufe0e", "\ufe0f", "\ufeff", "\uffa0", "\ufff9", "\ufffc", "\ufffd", "\ufdd0",
    "\ufffe", "\uffff", "\U0001d173", "\U000e0001", "\U000e007f", "\U000f0000", "\U0010ffff",
]  # fmt: skip
# What case, punctuation and normal forms do to single characters and clusters.
WORDS = [
    "Don't", "STOP,", "me-NOW!", "<unk>", "[UNK]", "[MASK]", "under_score", "C++", "C#", ".NET",
    "e-mail@host.org", "3.14", "1,000", "50%", "$5", "€5", "#tag", "a/b\\c", "~^`|{}", "\"quoted\"", "“curly”",
    "‘single’", "–—…", "¡Hola!", "¿Qué?", "§1", "«guillemets»", "。、！？", "（ｆｕｌｌ）", "ＡＢＣ", "ａｂｃ",
    "ÄÖÜ", "äöü", "ÉCOLE", "école", "e\u0301cole", "E\u0301COLE", "İstanbul", "istanbul", "Iğdır", "ıI",
    "i\u0307", "Straße", "STRASSE", "ẞ", "ß", "ﬁre", "ﬂow", "Ǆ", "ǅ", "ǆ", "ΣΑΣ", "σας", "σασ", "ΌΣΟΣ", "Ω",
    "Ω", "K", "Å", "Å", "A\u030a", "\u212b", "\u212a", "\u2126", "ÅNGSTRÖM",
    "Привет", "ПРИВЕТ", "ёЁ", "їЇ", "Ґґ", "שלום", "\u200fאב",
    "مرحبا", "،؟", "ـكـ", "لا", "नमस्ते", "क्ष", "ไทย", "ກຂ", "한국어", "\u1112\u1161\u11ab", "日本語",
    "テスト", "ﾃｽﾄ", "中文", "👍🏽", "👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "1️⃣", "🏴\U000e0067\U000e007f", "𝒜𝓑",
    "𝐀", "𐐀𐐨", "Ꭰꭰ", "ⓐⒶ", "①", "²", "½", "Ⅷ", "ⅷ", "Ჰჰ", "Ꮳ", "ŉ", "ΐ", "և", "a\u0300\u0301\u0302\u0303",
    "\u0301", "z̷a̴l̵",
]  # fmt: skip
BLANK = ["", " ", "  ", "\t", "\n", "\r\n", " \t\n\v\f\r "]


def hard_strings() -> list[str]:
    """The hand-made ones: each odd character alone, inside, around and between words; each word, and its cases."""
    found = list(BLANK)
    for odd in ODD:
        found += [odd, f"a{odd}B", f"{odd}A b{odd}", f"A {odd} b"]
    for word in WORDS:
        found += [word, word.upper(), word.lower(), f" {word}, x "]
    return list(dict.fromkeys(found))


def generated(count: int, alphabet: str = "") -> list[str]:
    """Seeded strings over all planes, with more of what is hard; ``alphabet`` restricts them to its characters."""
    source = random.Random(SEED)
    draws: list[Callable[[], str]] = [
        lambda: chr(source.randrange(0x20, 0x7F)),
        lambda: source.choice(" \t\n  "),
        lambda: source.choice("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"),
        lambda: chr(source.randrange(0x80, 0x250)),
        lambda: chr(source.choice([source.randrange(0xD800), source.randrange(0xE000, 0x10000)])),
        lambda: chr(source.randrange(0x10000, 0x110000)),
        lambda: source.choice(ODD),
        lambda: source.choice(WORDS),
    ]
    if alphabet:
        draws = [lambda: source.choice(alphabet)]
    return ["".join(source.choice(draws)() for _ in range(source.randrange(24))) for _ in range(count)]
