"""What `SslPrincipalMapper` of Kafka 4.3.1 makes of rules and names; `tests/judges/test_principal.py` asks it again."""

from __future__ import annotations

DN = "CN=kafka1.example.com,OU=ServiceUsers,O=My Org,L=Berlin,ST=Berlin,C=DE"

PRINCIPALS = [
    # The rule that takes all, and rules in their order.
    ("DEFAULT", DN, DN),
    ("DEFAULT", "", ""),
    ("RULE:^OU=.*$/x/,DEFAULT", "CN=a", "CN=a"),
    ("RULE:^CN=(.*)$/$1/,DEFAULT", "CN=a", "a"),
    ("DEFAULT,RULE:^CN=(.*)$/$1/", "CN=a", "CN=a"),
    ("RULE:CN=a/x/,RULE:CN=a/y/", "CN=a", "x"),
    # What Kafka's documentation shows.
    ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/", DN, "kafka1.example.com"),
    ("RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L", DN, "kafka1.example.com@serviceusers"),
    ("RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L", "O=x,cN=Kafka.1,C=DE", "kafka.1"),
    ("RULE:^cn=(.*?),ou=(.*?),dc=(.*?),dc=(.*?)$/$1@$2/U", "cn=a,ou=b,dc=c,dc=d", "A@B"),
    # Every match is replaced, the empty ones too.
    ("RULE:.*/X/", "CN=a", "XX"),
    ("RULE:.*/X/", "", "X"),
    ("RULE:^.*$/X/", "CN=a", "X"),
    ("RULE:CN=(.*?)/$1/", "CN=foo", "foo"),
    ("RULE:(a|b|CN=)+/$1,/", "CN=ab", "b,"),
    ("RULE:a*?b*/-/", "aab", "-a-a--"),
    ("RULE:[abc]*?/-/", "abc", "-a-b-c-"),
    # References to groups, those that there are not among them.
    ("RULE:CN=(.*)/$1@$2/", "CN=foo", "foo@$2"),
    ("RULE:^CN=(.*)$/$12/", "CN=a", "a2"),
    ("RULE:^CN=(.*)$/$10/", "CN=a", "a0"),
    ("RULE:^CN=(.*)$/$0/", "CN=a", "CN=a"),
    ("RULE:^CN=(.*)$/$01/", "CN=a", "a"),
    ("RULE:^CN=(.*)$/$21/", "CN=a", "$21"),
    ("RULE:^CN=(.*)$/\\$1/", "CN=a", "$1"),
    ("RULE:^CN=(.*)$/\\\\$1/", "CN=a", "\\a"),
    ("RULE:^CN=(.*)$/a\\/$1\\b/", "CN=a", "a/ab"),
    ("RULE:^(?<name>C).=(b)?(.*)$/${name}$2-$3/", "CN=a", "C-a"),
    ("RULE:(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)/$11$10/", "abcdefghijk", "kj"),
    # Slashes, commas and blanks.
    ("RULE:CN=a\\/b/$0/", "CN=a/b", "CN=a/b"),
    ("RULE:^CN=(.*),O=(.*)$/$2/ , DEFAULT", "CN=a,O=b", "b"),
    (" \t DEFAULT \n", "CN=a", "CN=a"),
    ("RULE:^CN=(.*)$/$1/,\n  RULE:x/y/", "CN=a", "a"),
    (",, ,DEFAULT,", "CN=a", "CN=a"),
    ("RULE:a,RULE:b/x/", "a,RULE:b", "x"),
    ("RULE:CN=\n/x/", "CN=\n", "x"),
    # Kafka searches for rules: in another line, what is not followed by a comma is passed over.
    ("DEFAULT\nRULE:.*/x/", "CN=a", "xx"),
    ("junk\u2028RULE:^.*$/x/", "CN=a", "x"),
    ("junk\nnonsense\x85 RULE:^.*$/x/", "CN=a", "x"),
    ("DEFAULT\u2029", "CN=a", "CN=a"),
    # Letter case.
    ("RULE:^CN=(.*)$/$1/L", "CN=ÀÉÎ-İ", "àéî-i̇"),
    ("RULE:^CN=(.*)$/$1/U", "CN=straße", "STRASSE"),
    ("RULE:^CN=(.*)$/$1/U", "CN=σς", "ΣΣ"),
    ("RULE:^CN=(.*)$/$1/L", "CN=Я中", "я中"),
]
"""Rules, a name, its principal."""

NO_RULE = "No rules apply to CN=a, rules [RULE:^OU=(.*)$/$1/L, RULE:x\\/y/z, RULE:b//U]"

UNMAPPED = [
    ("", "CN=a", "No rules apply to CN=a, rules []"),
    ("  ", "CN=a", "No rules apply to CN=a, rules []"),
    (",,", "CN=a", "No rules apply to CN=a, rules []"),
    ("RULE:^OU=(.*)$/$1/L, RULE:x\\/y/z/,RULE:b//U", "CN=a", NO_RULE),
    ("RULE:CN=.*/$1/", "CN=a", "No group 1"),
    ("RULE:(CN)=.*/$1$2$3/", "CN=a", "No group 3"),
    ("RULE:(CN)=.*/\\$2/", "CN=a", "No group 2"),
    ("RULE:CN=.*/$/", "CN=a", "Illegal group reference: group index is missing"),
    ("RULE:CN=.*/$x/", "CN=a", "Illegal group reference"),
    ("RULE:CN=.*/${}/", "CN=a", "named capturing group has 0 length name"),
    ("RULE:CN=.*/${a/", "CN=a", "named capturing group is missing trailing '}'"),
    ("RULE:CN=.*/${1}/", "CN=a", "capturing group name {1} starts with digit character"),
    ("RULE:CN=.*/${a}/", "CN=a", "No group with name {a}"),
    ("RULE:(CN)=.*/$99999999999/", "CN=a", 'For input string: "99999999999"'),
]
"""Rules, a name, and the words in which the client is turned away."""

INVALID = [
    ("x", "Invalid rule: `x`, unmatched substring: `x`"),
    ("default", "Invalid rule: `default`, unmatched substring: `default`"),
    ("DEFAULTS", "Invalid rule: `DEFAULTS`, unmatched substring: `S`"),
    ("DEFAULT/L", "Invalid rule: `DEFAULT/L`, unmatched substring: `/L`"),
    ("DEFAULT DEFAULT", "Invalid rule: `DEFAULT DEFAULT`, unmatched substring: ` DEFAULT`"),
    ("DEFAULT,RULE:a", "Invalid rule: `RULE:a`, unmatched substring: `RULE:a`"),
    ("RULE:a/b", "Invalid rule: `RULE:a/b`, unmatched substring: `RULE:a/b`"),
    ("RULE:a/b/LU", "Invalid rule: `RULE:a/b/LU`, unmatched substring: `U`"),
    ("RULE:a/b/l", "Invalid rule: `RULE:a/b/l`, unmatched substring: `l`"),
    ("RULE:a/b/L x,DEFAULT", "Invalid rule: `RULE:a/b/L x`, unmatched substring: ` x`"),
    ("RULE:a,b/c", "Invalid rule: `RULE:a`, unmatched substring: `RULE:a`"),
    ("RULE:a/b/c/d/,DEFAULT", "Invalid rule: `RULE:a/b/c/d/`, unmatched substring: `c/d/`"),
    ("RULE:a\\\nb/RULE:c/d/", "Invalid rule: `b/RULE:c/d/`, unmatched substring: `b/RULE:c/d/`"),
    ("RULE:a\\/b/", "Invalid rule: `RULE:a\\/b/`, unmatched substring: `RULE:a\\/b/`"),
    ("rule:a/b/", "Invalid rule: `rule:a/b/`, unmatched substring: `rule:a/b/`"),
]
"""Rules, and the words in which a broker refuses to start."""

INVALID_PATTERNS = [
    ("a)", "Unmatched closing ')'"),
    ("(a", "Unclosed group"),
    ("(?:a|(b)", "Unclosed group"),
    ("*a", "Dangling meta character '*'"),
    ("a**", "Dangling meta character '*'"),
    ("a|+", "Dangling meta character '+'"),
    ("(?i)?", "Dangling meta character '?'"),
    ("a*?+", "Dangling meta character '+'"),
    ("a{", "Illegal repetition"),
    ("a{,2}", "Illegal repetition"),
    ("a{2", "Unclosed counted closure"),
    ("a{2,x}", "Unclosed counted closure"),
    ("a{2,1}", "Illegal repetition range"),
    ("[a", "Unclosed character class"),
    ("[^", "Unclosed character class"),
    ("[b-a]", "Illegal character range"),
    (r"\i", "Illegal/unsupported escape sequence"),
    (r"[\y]", "Illegal/unsupported escape sequence"),
    ("(?<n>a)(?<n>b)", "Named capturing group <n> is already defined"),
    (r"\k<n>", "named capturing group <n> does not exist"),
]
"""Patterns that Java does not take, and how its exception begins."""

NOT_PREVIEWED = [
    *(r"\p{L}", r"\P{Lu}", r"[\p{Alpha}]", r"\h", r"\H", r"\v", r"\R", r"\X", r"\G", r"\Qa.b\E", r"\N{DIGIT ONE}"),
    *(r"\07", r"\cA", r"\x{61}", r"\ud83d\ude00", r"[\b]", r"\b{g}", r"[\07]", "a\\"),
    *("[a&&b]", "[a[b]]", "[[a]]", "[]a]", "[^]a]", "[a-", "[a-\\w]", "[a-[b]]"),
    *("(?x)a", "(?u)a", "(?d)a", "(?m)a", "(?U)a", "(?x:a)", "(?", "(?<=a)b", "(?<!a)b", "(?<1>a)"),
    *("(a*)*", "(a|)+", "(?:a?){2}", "(?:^)*", r"(a)\1*", "((a)b)*", "(?:(a)|b){2}", "(?:ab)*+", "(?:a)(?:b|c)?+"),
    *("^*", "$?", r"\b+", "(?=a)?", "(?>a)*", "(?=(a))", "(?!(a))b", "(?>(a))", "{2}", "a{0}", "a{0,0}", "a{1001}"),
    *(
        r"\1",
        r"(a\1)",
        r"\2(a)(b)",
        r"(a)\11",
        r"(?<n>a\k<n>)",
        r"\k",
        r"\kn",
        "\0",
        "\U0001f600",
        "[\U0001f600]",
        "a\ud800",
    ),
    *("(" * 51 + ")" * 51, "(?:a{100}){100}", "a{1000}" * 6),
]
"""Patterns of which it is not sure what Java makes of them, or not worth it."""

MATCHES = [
    # Line ends: `.` and `$` know five and a pair.
    (".", "a\n\r\x85\u2028\u2029b\x0b\x1c", "<a>\n\r\x85\u2028\u2029<b><\x0b><\x1c>"),
    ("(?s).+", "a\nb", "<a\nb>"),
    ("(?s:.)(?:.)", "\n\nab", "\n<\na>b"),
    ("$", "a", "a<>"),
    ("$", "a\n", "a<>\n<>"),
    ("$", "a\r\n", "a<>\r\n<>"),
    ("$", "a\r", "a<>\r<>"),
    ("$", "a\x85", "a<>\x85<>"),
    ("$", "a\u2029", "a<>\u2029<>"),
    ("$", "a\n\n", "a\n<>\n<>"),
    ("$", "a\n\r", "a\n<>\r<>"),
    (r"\Z", "a", "a<>"),
    (r"\Z", "a\n", "a<>\n<>"),
    (r"\Z", "a\r\n", "a<>\r\n<>"),
    (r"\Z", "a\r", "a<>\r<>"),
    (r"\Z", "a\x85", "a<>\x85<>"),
    (r"\Z", "a\u2029", "a<>\u2029<>"),
    (r"\Z", "a\n\n", "a\n<>\n<>"),
    (r"\Z", "a\n\r", "a\n<>\r<>"),
    (r"\z", "a", "a<>"),
    (r"\z", "a\n", "a\n<>"),
    (r"\z", "a\r\n", "a\r\n<>"),
    (r"\z", "a\r", "a\r<>"),
    (r"\z", "a\x85", "a\x85<>"),
    (r"\z", "a\u2029", "a\u2029<>"),
    (r"\z", "a\n\n", "a\n\n<>"),
    (r"\z", "a\n\r", "a\n\r<>"),
    (r"^|\A", "a\nb", "<>a\nb"),
    # Classes are of ASCII.
    (r"\w", "aZ_09é٣-", "<a><Z><_><0><9>é٣-"),
    (r"\W", "aé-", "a<é><->"),
    (r"\d+|\s+", "12 ٣ \t\x0b\xa0\x85", "<12>< >٣< \t\x0b>\xa0\x85"),
    (r"\D\S", "1aé \n", "1<aé> \n"),
    ("[^a-fb]", "cg", "c<g>"),
    ("[a-c]|[^a-c]{2}", "abxycé", "<a><b><xy><c>é"),
    (r"[\w,-]+", "a-b,é", "<a-b,>é"),
    (r"[^\W\d]", "a1_,", "<a>1<_>,"),
    ("[-a][a-][+--][&^.$|(*{}#]", "-a,&aa-^", "<-a,&><aa-^>"),
    (r"[\x41-\u0043\.\-\]\[\t]", "ABCD.-][\t", "<A><B><C>D<.><-><]><[><\t>"),
    ("[a^]|]|}", "^]}", "<^><]><}>"),
    (r"\t\n\r\f\a\e\.\_\é", "\t\n\r\x0c\x07\x1b._é", "<\t\n\r\x0c\x07\x1b._é>"),
    # Case matters not, in ASCII.
    ("(?i)aBc", "AbC", "<AbC>"),
    ("(?i)é", "éÉ", "<é>É"),
    ("(?i)[a-c]+|[^X]", "AbCxX", "<AbC>xX"),
    ("(?i)[Y-b]", "YZ[_abyzAB", "<Y><Z><[><_><a><b><y><z><A><B>"),
    ("(?i)k|s", "Kk\u212a\u017fs", "<K><k>\u212a\u017f<s>"),
    ("a(?i)b(?-i)c", "aBcaBCAbc", "<aBc>aBCAbc"),
    ("a(?i:b)c|(?:d(?i)e|f)g", "aBcaBCdEGFgfg", "<aBc>aBCdEG<Fg><fg>"),
    (r"(?i)(a)\1", "aAAAAb", "<aA><AA>Ab"),
    # Greedy, lazy, possessive and counted.
    ("a*", "baac", "<>b<aa><>c<>"),
    ("a{2}|a{1,}b|b{0,2}?c", "aaabbbc", "<aa><ab><bbc>"),
    ("a{2,3}?", "aaaaa", "<aa><aa>a"),
    ("a{2,3}", "aaaaaa", "<aaa><aaa>"),
    ("(?:ab){1,2}", "ababab", "<abab><ab>"),
    ("a*+a|a++b|b?+c", "aabcbc", "<aab><c><bc>"),
    ("(?>a|ab)c|(?:a|ab)c", "abcac", "<abc><ac>"),
    ("(?:a|b)*?c", "abcab", "<abc>ab"),
    # Groups, references and looks.
    (r"(a|b)\1", "aabbab", "<aa><bb>ab"),
    (r"(?:(a)|b)\1", "aab", "<aa>b"),
    (r"(?<x>.)(?<y>.)\k<y>\k<x>", "abba", "<abba>"),
    ("a(?=b)|b(?!a)|(?=c)", "abbac", "<a><b>ba<>c"),
    (r"\bab?\b|\B", "a ab ba", "<a> <ab> b<>a"),
    ("a||b", "ab", "<a><>b<>"),
    ("()|a", "a", "<>a<>"),
    ("(a*)?b", "aab", "<aab>"),
    ("", "ab", "<>a<>b<>"),
]
"""Patterns, a text, and the text with every match in brackets."""
