# awk -f compare.awk EXPECTED ACTUAL: every word must be the same, numbers within 0.2 % or 0.002.
# Compilers may round differently; a model that went wrong is further off than that.  In the map's lines (they begin
# with a bar) four characters may be the neighbouring symbol.
function number(word) { return word ~ /^[-+]?[0-9]+\.?[0-9]*([eE][-+]?[0-9]+)?$/ }
function close_enough(a, b,    gap, size) {
    gap = a - b; if (gap < 0) gap = -gap
    size = a < 0 ? -a : a
    return gap <= 0.002 || gap <= 0.002 * size
}
function map_differs(a, b,    i, gaps) {
    if (length(a) != length(b)) return 1
    for (i = 1; i <= length(a); i++)
        gaps += substr(a, i, 1) != substr(b, i, 1)
    return gaps > 4
}
FNR == NR { expected[++lines] = $0; next }
{
    seen++
    words = split(expected[FNR], want)
    map = /^\|/
    bad = map ? map_differs(expected[FNR], $0) : words != NF
    for (i = 1; i <= words && !map && !bad; i++)
        bad = number(want[i]) && number($i) ? !close_enough(want[i], $i) : want[i] != $i
    if (bad) {
        printf "line %d differs\n  expected: %s\n  found:    %s\n", FNR, expected[FNR], $0
        failed = 1
    }
}
END {
    if (seen != lines) { printf "%d lines expected, %d found\n", lines, seen; failed = 1 }
    exit failed
}
