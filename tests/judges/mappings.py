"""Names, patterns and rules at random, ordinary ones and odd ones, for Kafka's own mapper to judge ours by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from random import Random

# --- names ----------------------------------------------------------------------------------

OIDS = [
    *(NameOID.COMMON_NAME, NameOID.COUNTRY_NAME, NameOID.LOCALITY_NAME, NameOID.STATE_OR_PROVINCE_NAME),
    *(NameOID.STREET_ADDRESS, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.USER_ID),
    *(NameOID.DOMAIN_COMPONENT, NameOID.EMAIL_ADDRESS, NameOID.SERIAL_NUMBER, NameOID.SURNAME, NameOID.TITLE),
    *(x509.ObjectIdentifier(oid) for oid in ("2.999.1", "1.2.840.113549.1.9.2", "0.9.2342.19200300.100.1.3")),
]
STRING_TYPES = [
    StringType.UTF8String,
    StringType.PrintableString,
    StringType.T61String,
    StringType.IA5String,
    StringType.BMPString,
    StringType.UniversalString,
    StringType.NumericString,
    StringType.VisibleString,
]
_PLAIN = "abcXYZ019 '()+,-./:=?"
_ASCII = "".join(map(chr, range(0x80)))
_ODD = ' \r\n\t\0\x7f,=+<>#;"\\/' * 3 + "aé\x85\xa0ßИΣ\u2028中😀\uffff"


def some_name(random: Random) -> x509.Name:
    """Return a name of any shape, as a certificate can hold it."""
    return x509.Name([_some_rdn(random) for _ in range(random.choice([0, 1, 1, 1, 2, 3, 5]))])


def _some_rdn(random: Random) -> x509.RelativeDistinguishedName:
    attributes = {_some_attribute(random) for _ in range(random.choice([1, 1, 1, 1, 2, 3]))}
    return x509.RelativeDistinguishedName(attributes)


def _some_attribute(random: Random) -> x509.NameAttribute[str]:
    oid = random.choice(OIDS)
    string_type = random.choice([StringType.UTF8String, *STRING_TYPES])
    letters = {
        StringType.UTF8String: _ODD,
        StringType.T61String: _ASCII + "é",
        StringType.BMPString: _ODD.replace("😀", ""),
        StringType.UniversalString: _ODD,
        StringType.IA5String: _ASCII,
        StringType.NumericString: "0123456789 ",
    }.get(string_type, _PLAIN)
    length = 2 if oid == NameOID.COUNTRY_NAME else random.choice([0, 1, 1, 2, 3, 8, 40, 200])
    value = "".join(random.choices(letters, k=length))
    return x509.NameAttribute(oid, value, string_type, _validate=False)


# --- names as Kafka takes them, and the rules that people write -------------------------------

_VALUES = ["kafka1.example.com", "Duke", "producer-app", "My Org", "ServiceUsers", "ACME\\, Inc.", "Zürich", "a", ""]
_KEYWORDS = ["CN", "OU", "OU", "O", "L", "ST", "C", "DC", "UID"]


def ordinary_name(random: Random) -> str:
    """Return a name as most certificates have it."""
    parts = [f"{keyword}={random.choice(_VALUES)}" for keyword in _KEYWORDS if random.random() < 0.6]
    return ",".join(parts)


_ORDINARY_PATTERNS = [
    "^CN=(.*?),OU=ServiceUsers.*$",
    "^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$",
    "^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$",
    r"^CN=([^,]+),.*$",
    r"CN=([^,.]+)(\.[^,]*)?(,.*)?",
    r"^(?i)cn=(.*?),ou=(\w+).*",
    r"^CN=([a-z0-9-]+)\.example\.com,OU=[^,]*(?:,O=(.*))?$",
    r".*CN=(?<name>[^,]*).*",
    r"^.*OU=([A-Z]{2,8}|ServiceUsers|producer-\d+),.*$",
    r"^CN=((?:[^,\\]|\\.)*),?.*$",
    r"^UID=(\S+?),CN=.*|CN=([\w. -]*)$",
    r"(?!CN=admin)CN=(.*?),.*",
    r"CN=(.{1,20}),O=.*",
    ".*",
    "",
]
_ORDINARY_REPLACEMENTS = ["$1", "$1@$2", "$0", "User-$1", "$2", "$12", "x", "", r"a\/b", r"\$1", "${name}", "$3.$1"]


def ordinary_rules(random: Random) -> str:
    """Return rules as the documentation has them, and people make them of it."""
    rules = []
    for _ in range(random.choice([1, 1, 2, 3, 4])):
        pattern, replacement = random.choice(_ORDINARY_PATTERNS), random.choice(_ORDINARY_REPLACEMENTS)
        rule = f"RULE:{pattern}/{replacement}/{random.choice(['', '', 'L', 'U'])}"
        rules.append(random.choice([rule, rule, rule, "DEFAULT"]))
    return random.choice([",", ", ", " , ", ",\n  "]).join(rules)


# --- odd rules --------------------------------------------------------------------------------

_FRAGMENTS = [
    *("DEFAULT", "RULE:", "RULE:", "RULE:a/b/", "RULE:(.*),(.*)/$2/L", "RULE:a\\/b/c\\/d/U", "RULE:.*/x/", "DEFAULTS"),
    *("/", "/", "\\/", "\\", ",", ",", ", ", " ", "\n", "\r\n", "\t", "\x85", "\u2028", "\0", "L", "U", "LU", "l"),
    *("a", "$1", "(.*)", "CN=", "rule:", "R", "\\\n", "é", "\xa0"),
]


def odd_rules(random: Random) -> str:
    """Return what may or may not be rules, made of the pieces that rules are made of."""
    return "".join(random.choices(_FRAGMENTS, k=random.choice([0, 1, 2, 3, 4, 5, 6, 8, 12])))


# --- odd patterns ---------------------------------------------------------------------------

_NAME_LETTERS = "aaabbbAB,=. -1_\n\r\x85\u2028é"
_CHARACTERS = {
    **{one: one for one in "abA,= ]}-&#_é\n"},
    r"\.": ".",
    r"\d": "1",
    r"\D": "aé",
    r"\w": "a_",
    r"\W": ",é",
    r"\s": " \n",
    r"\S": "ab",
    r"\n": "\n",
    r"\x61": "a",
    r"\u0062": "b",
    r"\-": "-",
    r"\,": ",",
    r"\_": "_",
    r"\t": "\t",
    r"\e": "\x1b",
    ".": "a,é",
    "[ab]": "ab",
    "[^,]": "ab\n",
    "[a-c]": "ab",
    r"[^\w]": ",é",
    "[A-b,]": "AB_,",
    "[^a-]": "b",
    r"[\d\-,]": "1-",
    "[a-c-e]": "b-",
    "[.*+]": ".",
    "[a^]": "a^",
    "[&]": "&",
    "[a&b]": "ab&",
    "[^\n]": "a\r",
    r"[\x41-\x42]": "AB",
    r"[\,-/]": ",.",
    "[$^|(){}]": "$",
    "[--a]": "-A_",
    r"[\W\da]": "1,a",
    "[+--]": ",",
}
"""Each with characters that it matches."""

_RUNS = {".*": ["", "a", "a,b"], ".*?": ["", "b"], ".+": ["ab", "="], "[^,]*": ["", "ab"], r"\w+": ["a", "ab_"]}
_GROUPS = {"(.*)": ["", "ab"], "(.*?)": ["", "a"], "([^,]+)": ["a", "b="], "(a|ab)": ["a", "ab"], "(,?a)?": ["", ",a"]}
_ODD_ONES = [
    *(
        "[]a]",
        "[^]a]",
        "[[a]b]",
        "[a&&b]",
        "[a-b&&[^b]]",
        "[b-a]",
        "[a",
        r"\p{L}",
        r"\P{Lu}",
        r"\h",
        r"\v",
        r"\R",
        r"\X",
    ),
    *(
        r"\G",
        r"\Qa\E",
        r"\07",
        r"\x{61}",
        r"\cA",
        r"\N{DIGIT ONE}",
        r"\i",
        r"\y",
        r"\b{g}",
        "(?x)a b",
        "(?u)a",
        "(?m)^a$",
    ),
    *(
        "(?<=a)b",
        "(?<!a)b",
        "(?d).",
        "{",
        "{2}",
        "*",
        "+",
        "?",
        ")",
        "(",
        "a**",
        "a{2",
        "a{x}",
        "a{2,1}",
        "a{,2}",
        "a{0}",
    ),
    *(
        "(?<a>a)(?<a>b)",
        r"\k<no>",
        "(?<1a>b)",
        "(?#a)",
        "^*",
        "$+",
        r"\b?",
        "(?=a)*",
        "(?>a)+",
        r"\uD83D",
        "[\\b]",
        "a{2}{3}",
    ),
    *(
        "(a(b))*",
        "(?:(a)|b)*",
        "(a*)*",
        "(?:a?)+",
        "(a|)*",
        "(?:ab)*+",
        r"(a\1)",
        r"\2(a)(b)",
        "(?=(a))a",
        "(?>(a)b)",
        "[a-",
    ),
]
_PLACES = [
    "^",
    "$",
    r"\b",
    r"\B",
    r"\A",
    r"\z",
    r"\Z",
    "(?i)",
    "(?-i)",
    "(?s)",
    "(?:)",
    "()",
    "(?=a)",
    "(?!a)",
    "(?=.*b)",
]
_QUANTIFIERS = {
    "*": (0, 3),
    "+": (1, 3),
    "?": (0, 1),
    "{2}": (2, 2),
    "{1,2}": (1, 2),
    "{1,}": (1, 3),
    "*?": (0, 3),
    "+?": (1, 3),
    "??": (0, 1),
    "{0,2}?": (0, 2),
    "*+": (0, 3),
    "++": (1, 3),
    "?+": (0, 1),
    "{3}?": (3, 3),
    "{2,4}": (2, 4),
}


def some_pattern(random: Random, depth: int = 3) -> tuple[str, str]:
    """Return a pattern, most often one that can be previewed, and a text that may match."""
    pattern, text = "", ""
    for _ in range(random.choice([0, 1, 2, 2, 3, 4])):
        piece, *texts = _some_piece(random, depth)
        if texts and random.random() < 0.4:
            quantifier, (low, high) = random.choice(list(_QUANTIFIERS.items()))
            piece += quantifier
            texts = ["".join(random.choices(texts, k=random.randint(low, high)))]
        pattern, text = pattern + piece, text + random.choice(texts or [""])
    if depth and random.random() < 0.15:
        other, other_text = some_pattern(random, depth - 1)
        return f"{pattern}|{other}", random.choice([text, other_text])
    return pattern, text


def _some_piece(random: Random, depth: int) -> list[str]:
    """Return a piece, and texts for it; none where it is nothing to repeat."""
    chance = random.random()
    if depth and chance < 0.3:
        opening = random.choice(["(", "(", "(", "(", "(?:", "(?:", "(?i:", "(?<n>", "(?>", "(?=", "(?!", "(?s-i:"])
        inner, text = some_pattern(random, depth - 1)
        looks = opening in {"(?=", "(?!"}
        return [f"{opening}{inner})", "" if looks else text.swapcase() if opening == "(?i:" else text]
    if chance < 0.36:
        return [random.choice(_PLACES)]
    if chance < 0.40:
        return [random.choice([r"\1", r"\2", r"\k<n>"])]
    if chance < 0.404:
        return [random.choice(_ODD_ONES)]
    some: dict[str, list[str]] = _RUNS if chance < 0.48 else _GROUPS if chance < 0.56 else {}
    if some:
        piece, texts = random.choice(list(some.items()))
        return [piece, *texts]
    piece, letters = random.choice(list(_CHARACTERS.items()))
    return [piece, *letters]


def odd_name(random: Random, text: str) -> str:
    """Return a name that may match as the text does; short, for a pattern at random may never end."""
    letters = list(text[:14])
    for _ in range(random.choice([0, 0, 0, 1, 1, 2])):
        at = random.randint(0, len(letters))
        letters[at : at + random.choice([0, 1])] = random.choices(_NAME_LETTERS, k=random.choice([0, 1, 1, 2]))
    return "".join(letters)


_ODD_REPLACEMENTS = [
    *(
        "$1",
        "$1$2",
        "$3$2$1",
        "$10",
        "$0",
        "$01",
        "${n}",
        "${no}",
        "${1}",
        "${",
        "${}",
        "$",
        "$x",
        r"\$1",
        r"\\$2",
        r"\a",
    ),
    *("<$1>", "<$0>", "$2$2$2", "$1$3$4", "$99999999999", "$12$23", "<>", "x", "", "é$1"),
]


def odd_replacement(random: Random) -> str:
    """Return a replacement, right or wrong; most often one that shows what each group has matched."""
    if random.random() < 0.6:
        return random.choice(["<$0>", "<$0|$1|$2|$3>"])
    return "".join(random.choices(_ODD_REPLACEMENTS, k=random.choice([1, 1, 1, 2])))
