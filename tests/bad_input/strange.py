# ruff: noqa: E501 - a row of the table is a line
"""What no careful person writes but files hold all the same: odd bytes, odd tables, odd labels, odd places."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_input.making import GOOD, MENTION, Prepare, Row, file, folder, several

FT = "finetune --model {lm} -o out --data "
FTD = "finetune --model {lm} --data {data} -o out "
PT = "pretrain --family ulmfit --size tiny -o out --text "
EV = "evaluate --model {classifier} --data "
PR = "predict --model {classifier} "
CF = "finetune c.yaml --model {lm} --data {data} -o out"
A = '{"text": "a", "label": "x"}\n'
B = '{"text": "b", "label": "y"}\n'
LAUGHS = "\n".join(
    ["architecture:", "  a: &a [1,1,1,1,1,1,1,1,1,1]"]
    + [f"  {b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)]
)


def columns(name: str, **values: Any) -> Prepare:
    """A Parquet file of these columns."""
    return lambda folder, good: pq.write_table(pa.table(values), folder / name)


def twice(name: str) -> Prepare:
    def prepare(folder: Path, good: dict[str, Path]) -> None:
        pq.write_table(
            pa.table([["a", "b"], ["x", "y"], ["c", "d"]], ["text", "label", "text"]), folder / name
        )

    return prepare


def link(name: str, target: str) -> Prepare:
    def prepare(folder: Path, good: dict[str, Path]) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)

    return prepare


def pipe(name: str) -> Prepare:
    return lambda folder, good: os.mkfifo(folder / name)


def a_million_classes(folder: Path, good: dict[str, Path]) -> None:
    with (folder / "c39.csv").open("w") as rows:
        rows.write("text,label\n")
        rows.writelines(f"text {number},{number}\n" for number in range(1_000_000))


def cut_in_half(name: str, content: bytes) -> Prepare:
    return file(name, content[: len(content) // 2])


def parquet_cut(name: str, share: float) -> Prepare:
    def prepare(folder: Path, good: dict[str, Path]) -> None:
        pq.write_table(pa.table({"text": ["x" * 50] * 1000, "label": ["a", "b"] * 500}), folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return prepare


BYTES = [
    Row("a gzip bomb", FT + "a24.csv.gz", "it unpacks to more than 200 times its size, as no text does, in a24.csv.gz; unpack it if it is meant", file("a24.csv.gz", gzip.compress(b"text,label\n" + b"\0" * (70 << 20), 1))),
    Row("a gzip bomb of JSON", PR + "a25.jsonl.gz", "it unpacks to more than 200 times its size, as no text does, in a25.jsonl.gz; unpack it if it is meant", file("a25.jsonl.gz", gzip.compress(b'{"text": "' + b"a" * (70 << 20), 1))),
    Row("a gzip bomb of Parquet", PR + "a26.parquet.gz", "it unpacks to more than 200 times its size, as no text does, in a26.parquet.gz; unpack it if it is meant", file("a26.parquet.gz", gzip.compress(b"\0" * (70 << 20), 1))),
    Row("a gzip bomb of text", PT + "a27.txt.gz", "it unpacks to more than 200 times its size, as no text does, in a27.txt.gz; unpack it if it is meant", file("a27.txt.gz", gzip.compress(b"a" * (70 << 20), 1))),
    Row("UTF-16 unmarked", FT + "a1.csv", "its column names hold NUL characters, as UTF-16 without a byte order mark does, in a1.csv; re-encode it: iconv -f.*", file("a1.csv", GOOD.encode("utf-16-le"))),
    Row("UTF-32", FT + "a3.csv", "the file is not UTF-8 at line 1, byte 1 of the line, it looks like UTF-32, in a3.csv; re-encode it: iconv -f.*", file("a3.csv", GOOD.encode("utf-32"))),
    Row("UTF-16 in JSON", FT + "a4.jsonl", "the file is not UTF-8 at line 1, byte 1 of the line, it looks like UTF-16, in a4.jsonl; re-encode it: iconv -f.*", file("a4.jsonl", A.encode("utf-16"))),
    Row("UTF-16 text", PT + "a5.txt", "the file is not UTF-8 at line 1, byte 1 of the line, it looks like UTF-16, in a5.txt; re-encode it: iconv -f.*", file("a5.txt", "hello\n".encode("utf-16"))),
    Row("a byte order mark alone", FT + "a6.csv", "the file is empty, in a6.csv; it needs a line of col.*", file("a6.csv", b"\xef\xbb\xbf")),
    Row("a byte order mark alone in JSON", FT + "a7.jsonl", "the file is empty, in a7.jsonl; it needs at least one row", file("a7.jsonl", b"\xef\xbb\xbf")),
    Row("NULs alone", FT + "a9.csv", "its column names hold NUL characters, as UTF-16 without a byte order mark does, in a9.csv; re-encode it: iconv -f.*", file("a9.csv", b"\0" * 500)),
    Row("NULs alone in JSON", FT + "a10.jsonl", "line 1 is broken JSON .*, in a10.jsonl; mend it, or write one .*", file("a10.jsonl", b"\0" * 500)),
    Row("half of a surrogate pair", FT + "a12.csv", r"half a character \(a lone surrogate\) at line 2, byte 2 of the line, in a12\.csv; write the text again f.*", file("a12.csv", "text,label\na\ud83d,x\n".encode("utf-8", "surrogatepass"))),
    Row("half of a surrogate pair in JSON", FT + "a13.jsonl", r"line 2 holds half a character \(a lone \\ud800-\\udfff escape\), in a13\.jsonl; mend it, or write one .*", file("a13.jsonl", A + '{"text": "\\udc00", "label": "y"}')),
    Row("half of a surrogate pair in a text", PT + "a14.txt", r"half a character \(a lone surrogate\) at line 2, byte 1 of the line, in a14\.txt; write the text again f.*", file("a14.txt", "a\n\udfff\n".encode("utf-8", "surrogatepass"))),
    Row("half of a pair in a key", FT + "a15.jsonl", r"line 2 holds half a character \(a lone \\ud800-\\udfff escape\), in a15\.jsonl; mend it, or write one .*", file("a15.jsonl", A + '{"te\\ud800xt": "b", "label": "y"}')),
    Row("a NUL in two bytes", EV + "a16.tsv", "the file is not UTF-8 at line 2, byte 2 of the line, it looks like Windows-1252, in a16.tsv; re-encode it: iconv -f.*", file("a16.tsv", b"text\tlabel\na\xc0\x80\tgood\n")),
    Row("Windows-1252 in JSON", EV + "a17.jsonl", "the file is not UTF-8 at line 2, byte 11 of the line, it looks like Windows-1252, in a17.jsonl; re-encode it: iconv -f.*", file("a17.jsonl", A.encode() + b'{"text": "\x93b\x94", "label": "x"}')),
    Row("Latin-1 in a class folder", FT + "f", "the file is not UTF-8 at line 1, byte 4 of the line, it looks like Windows-1252, in f/pos/1.txt; re-encode it: iconv -f.*", several(file("f/pos/1.txt", b"caf\xe9"), file("f/neg/1.txt", b"bad"))),
    Row("Latin-1 compressed", EV + "a18.csv.gz", "the file is not UTF-8 at line 2, byte 4 of the line, it looks like Windows-1252, in a18.csv.gz; re-encode it: iconv -f.*", file("a18.csv.gz", gzip.compress(b"text,label\ncaf\xe9,good\n"))),
    Row("not gzip", FT + "a19.csv.gz", "the file is truncated, damaged or not what its suffix says .*, in a19.csv.gz; write or copy it again", file("a19.csv.gz", GOOD)),
    Row("not zstd", FT + "a20.csv.zst", "the file is truncated, damaged or not what its suffix says .*, in a20.csv.zst; write or copy it again", file("a20.csv.zst", GOOD)),
    Row("gzip of nothing", FT + "a21.csv.gz", "the file is empty, in a21.csv.gz; it needs a line of col.*", file("a21.csv.gz", gzip.compress(b""))),
    Row("gzip twice", FT + "a22.csv.gz", "the file is not UTF-8 at line 1, byte 2 of the line, in a22.csv.gz; re-encode it: iconv -f.*", file("a22.csv.gz", gzip.compress(gzip.compress(GOOD.encode())))),
    Row("gzip with a tail", FT + "a23.csv.gz", "the file is truncated, damaged or not what its suffix says .*, in a23.csv.gz; write or copy it again", file("a23.csv.gz", gzip.compress(GOOD.encode()) + b"tail of rubbish")),
    Row("text cut short", PT + "a28.txt.gz", "the file is truncated, damaged or not what its suffix says .*, in a28.txt.gz; write or copy it again", cut_in_half("a28.txt.gz", gzip.compress(os.urandom(2000)))),
    Row("a name that steers", FT + "b1.csv", r"the text column could be 'te\\x1b\[31mxt' or 'x' or 'y', in b1\.csv; it has 'te\\x1b\[31mxt',.*", file("b1.csv", "te\x1b[31mxt,x,y\na,b,c\n")),
    Row("a label that steers", EV + "b2.csv", r"labels that the model does not know: '\\u202egood\\x1b\[2J' \(1 row\), in b2\.csv; it knows 'bad', 'good'; .*", file("b2.csv", "text,label\na,\u202egood\x1b[2J\n")),
]  # fmt: skip
TABLES = [
    Row("a row too short", FT + "c1.csv", "line 3 has 2 fields where the header has 3, in c1.csv; quote fields that hold.*", file("c1.csv", "text,label,more\na,b,c\nd,e\n")),
    Row("a quote left open", FT + "c2.csv", r"line 14 cannot be read \(unexpected end of data\), in c2\.csv; write a quotation mark.*", file("c2.csv", GOOD + '"a text\nthat never ends,x\n')),
    Row("a quote in mid-field", FT + "c3.csv", r'''line 14 cannot be read \(',' expected after '"'\), in c3\.csv; write a quotation mark.*''', file("c3.csv", GOOD + '"a" b,x\n')),
    Row("a row too long in TSV", FT + "c4.tsv", "line 3 has 3 fields where the header has 2, in c4.tsv; quote fields that hold.*", file("c4.tsv", "text\tlabel\na\tb\nc\td\te\n")),
    Row("one column twice", FT + "c5.csv", "two columns are named 'label', in c5.csv; rename one of them", file("c5.csv", "text,label,label\na,b,c\n")),
    Row("one column twice in Parquet", FT + "c6.parquet", "two columns are named 'text', in c6.parquet; rename one of them", twice("c6.parquet")),
    Row("one key twice", FT + "c7.jsonl", "line 2 gives the key 'text' twice, in c7.jsonl; mend it, or write one .*", file("c7.jsonl", A + '{"text": "b", "text": "c", "label": "y"}\n')),
    Row("one key twice in an array", FT + "c8.json", "the file gives the key 'label' twice, in c8.json; mend it, or write one .*", file("c8.json", '[{"text": "b", "label": "x", "label": "y"}]')),
    Row("names of nothing", FT + "c9.csv", "no column is plainly the text, in c9.csv; it has '', '': name on.*", file("c9.csv", ",\na,b\n")),
    Row("a header of blanks", FT + "c10.csv", "two columns are named ' ', in c10.csv; rename one of them", file("c10.csv", " , \na,b\n")),
    Row("a header of quotes", FT + "c11.csv", "no column is plainly the text, in c11.csv; it has '', '': name on.*", file("c11.csv", '"",""\na,b\n')),
    Row("a header of labels twice over", FT + "c12.csv", "the label column could be 'Label' or 'LABEL', in c12.csv; it has 'text', 'Label'.*", file("c12.csv", "text,Label,LABEL\na,b,c\n")),
    Row("a broken line", FT + "c13.jsonl", "line 2001 is broken JSON .*, in c13.jsonl; mend it, or write one .*", file("c13.jsonl", A * 2000 + "{'text': 'b', 'label': 'y'}\n" + B)),
    Row("two objects on a line", FT + "c14.jsonl", "line 2 is broken JSON .*, in c14.jsonl; mend it, or write one .*", file("c14.jsonl", A + A.strip() + B)),
    Row("an object over lines", FT + "c15.jsonl", "line 2 is broken JSON .*, in c15.jsonl; mend it, or write one .*", file("c15.jsonl", A + '{"text":\n"b", "label": "y"}\n')),
    Row("a line of null", FT + "c16.jsonl", "line 2 is no JSON object, in c16.jsonl; write one object a lin.*", file("c16.jsonl", A + "null\n" + B)),
    Row("an array of nothing", FT + "c17.json", "there are no data rows, in c17.json; it needs at least one", file("c17.json", "[]")),
    Row("an array of arrays", FT + "c18.json", "item 0 of the array is no object, in c18.json", file("c18.json", '[["a", "x"], ["b", "y"]]')),
    Row("an object of arrays", FT + "c19.json", "the text is of type list, not a string, in column 'text' of row 0 of c19.json; write it in quotes", file("c19.json", '{"text": ["a", "b"], "label": ["x", "y"]}')),
    Row("an array cut short", FT + "c20.json", "line 1 is broken JSON .*, in c20.json; mend it, or write one .*", file("c20.json", '[{"text": "a", "label": "x"},')),
    Row("brackets without end", FT + "c21.jsonl", "line 2 is no usable JSON .*, in c21.jsonl; mend it, or write one .*", file("c21.jsonl", A + '{"text": ' + "[" * 100_000)),
    Row("brackets without end in an array", FT + "c22.json", "the file is no usable JSON .*, in c22.json; mend it, or write one .*", file("c22.json", "[" * 100_000)),
    Row("a number without end", FT + "c23.jsonl", "line 2 is no usable JSON .*, in c23.jsonl; mend it, or write one .*", file("c23.jsonl", A + '{"text": "b", "label": ' + "9" * 5000 + "}\n")),
    Row("NaN for a text", FT + "c24.jsonl", "the text is of type float, not a string, in column 'text' of row 1 of c24.jsonl; write it in quotes", file("c24.jsonl", A + '{"text": NaN, "label": "y"}\n')),
    Row("an object for a text", FT + "c25.jsonl", "the text is of type dict, not a string, in column 'text' of row 1 of c25.jsonl; write it in quotes", file("c25.jsonl", A + '{"text": {"a": 1}, "label": "y"}\n')),
    Row("an infinite label", FT + "c26.jsonl", "label inf is no whole number, in column 'label' of row 1 of c26.jsonl; classes are strings or.*", file("c26.jsonl", A + '{"text": "b", "label": 1e999}\n')),
    Row("a label of minus infinity", FT + "c27.jsonl", "label -inf is no whole number, in column 'label' of row 1 of c27.jsonl; classes are strings or.*", file("c27.jsonl", A + '{"text": "b", "label": -Infinity}\n')),
    Row("a fraction for a label", FT + "c28.jsonl", "label 0.5 is no whole number, in column 'label' of row 1 of c28.jsonl; classes are strings or.*", file("c28.jsonl", A + '{"text": "b", "label": 0.5}\n')),
    Row("an object for a label", FT + "c29.jsonl", "a label is a dict, in column 'label' of row 1 of c29.jsonl; use strings or whole numbers", file("c29.jsonl", A + '{"text": "b", "label": {"a": 1}}\n')),
    Row("a list in a list", FT + "c30.jsonl", "a label is a list, in column 'label' of row 0 of c30.jsonl; use strings or whole numbers", file("c30.jsonl", '{"text": "b", "label": [["x"]]}\n')),
    Row("a gap in a list", FT + "c31.jsonl", "a list of labels holds a missing one, in column 'label' of row 0 of c31.jsonl; leave it out of the list", file("c31.jsonl", '{"text": "b", "label": ["x", null]}\n')),
    Row("a label twice in a list", FT + "c32.jsonl", "a list of labels names one twice, in column 'label' of row 0 of c32.jsonl; list the names that ap.*", file("c32.jsonl", '{"text": "b", "label": ["x", "x"]}\n')),
    Row("labels of NaN", FT + "c33.jsonl", "no row is left, in c33.jsonl; left out for a missing.*", file("c33.jsonl", '{"text": "b", "label": NaN}\n')),
    Row("every text empty", FT + "c34.csv", "no row is left, in c34.csv; left out for an empty .*", file("c34.csv", "text,label\n,x\n,y\n")),
    Row("every text of white space", FT + "c35.csv", "no row is left, in c35.csv; left out for an empty .*", file("c35.csv", "text,label\n  ,x\n\t,y\n\u3000,x\n")),
    Row("every label of white space", FT + "c36.csv", "no row is left, in c36.csv; left out for a missing.*", file("c36.csv", "text,label\na, \nb,\t\n")),
    Row("a class a row", FT + "c37.csv", "no class has a second row to validate on, in the training data; add rows or name valid.*", file("c37.csv", "text,label\n" + "".join(f"t{n},c{n}\n" for n in range(1000)))),
    Row("a million classes", FT + "c39.csv", "more than 100,000 different labels, in column 'label' of c39.csv; name the column.*", a_million_classes),
    Row("a line of ten million letters", PR + "c38.csv", "the text has more than 10,000,000 characters, in column 'text' of row 1 of c38.csv; cut it.*", file("c38.csv", "text\nshort\n" + "x" * 10_000_001)),
    Row("Parquet without its end", FT + "d1.parquet", "the file is truncated, damaged or not what its suffix says .*, in d1.parquet; write or copy it again", parquet_cut("d1.parquet", 0.5)),
    Row("Parquet without a byte", FT + "d2.parquet", "the file is truncated, damaged or not what its suffix says .*, in d2.parquet; write or copy it again", parquet_cut("d2.parquet", 0.999)),
    Row("Parquet of nothing", FT + "d3.parquet", "there are no data rows, in d3.parquet; it needs at least one", lambda folder, good: pq.write_table(pa.table({}), folder / "d3.parquet")),
    Row("Parquet of no rows", FT + "d4.parquet", "there are no data rows, in d4.parquet; it needs at least one", columns("d4.parquet", text=pa.array([], pa.string()), label=pa.array([], pa.string()))),
    Row("Parquet of bytes", FT + "d5.parquet", "column 'text' holds binary, not text, in d5.parquet; name another column", columns("d5.parquet", text=[b"a", b"b"], label=["x", "y"])),
    Row("Parquet of numbers", FT + "d6.parquet", "column 'text' holds double, not text, in d6.parquet; name another column", columns("d6.parquet", text=[1.5, float("nan")], label=["x", "y"])),
    Row("Parquet of lists", FT + "d7.parquet", "column 'text' holds list<element: string>, not text, in d7.parquet; name another column", columns("d7.parquet", text=[["a"], ["b"]], label=["x", "y"])),
    Row("Parquet of missing texts", FT + "d8.parquet", "no row is left, in d8.parquet; left out for an empty .*", columns("d8.parquet", text=pa.nulls(2), label=["x", "y"])),
    Row("Parquet of missing labels", FT + "d9.parquet", "no row is left, in d9.parquet; left out for a missing.*", columns("d9.parquet", text=["a", "b"], label=pa.array([float("nan"), None]))),
    Row("Parquet of infinite labels", FT + "d10.parquet", "label inf is no whole number, in column 'label' of row 0 of d10.parquet; classes are strings or.*", columns("d10.parquet", text=["a", "b"], label=[float("inf"), 1.0])),
    Row("Parquet of bytes for labels", FT + "d11.parquet", "a label is a bytes, in column 'label' of row 0 of d11.parquet; use strings or whole numbers", columns("d11.parquet", text=["a", "b"], label=[b"x", b"y"])),
    Row("Parquet of structs for labels", FT + "d12.parquet", "a label is a dict, in column 'label' of row 0 of d12.parquet; use strings or whole numbers", columns("d12.parquet", text=["a", "b"], label=[{"a": 1}, {"a": 2}])),
    Row("a CSV named Parquet", FT + "d13.parquet", "the file is truncated, damaged or not what its suffix says .*, in d13.parquet; write or copy it again", file("d13.parquet", GOOD)),
    Row("a CSV named Arrow", FT + "d14.arrow", "the file is truncated, damaged or not what its suffix says .*, in d14.arrow; write or copy it again", file("d14.arrow", GOOD)),
    Row("a CSV named JSON", FT + "d15.jsonl", "line 1 is broken JSON .*, in d15.jsonl; mend it, or write one .*", file("d15.jsonl", GOOD)),
    Row("JSON named CSV", FT + "d16.csv", r'''the text column could be '\{"text": "a"' or ' "label": "x"\}', in d16\.csv; it has '\{"text": "a"',.*''', file("d16.csv", A + B)),
]  # fmt: skip
PLACES = [
    Row("a link to itself", FT + "e1.csv", "a link that leads nowhere, e1.csv; mend the link", link("e1.csv", "e1.csv")),
    Row("a link to nothing", FT + "e2.csv", "a link that leads nowhere, e2.csv; mend the link", link("e2.csv", "nowhere.csv")),
    Row("a folder that links to itself", FT + "e3", "a link that leads nowhere, e3; mend the link", link("e3", "e3")),
    Row("a folder of links to themselves", FT + "e4", "a link that leads nowhere, at e4/train.csv; mend the link", link("e4/train.csv", "train.csv")),
    Row("classes of links to themselves", FT + "e5", "a link that leads nowhere, at e5/neg/b.txt; mend the link", several(file("e5/pos/a.txt", "good"), folder("e5/neg"), link("e5/neg/b.txt", "b.txt"))),
    Row("a text that links to itself", PT + "e6.txt", "a link that leads nowhere, at e6.txt; mend the link", link("e6.txt", "e6.txt")),
    Row("texts in a circle", PT + "e7", "no text file in this folder, e7; it takes .txt and tabu.*", link("e7/e7", "../e7")),
    Row("a model that links to itself", "predict --model e8 {data}", "a link that leads nowhere, e8; mend the link", link("e8", "e8")),
    Row("an output that links to itself", FTD.replace("-o out", "-o e9"), r"cannot be written \(File exists\), e9; name another --output", link("e9", "e9")),
    Row("a config that links to itself", "finetune e10.yaml", r"cannot be read \(Too many levels of symbolic links\), e10\.yaml; check its permissions", link("e10.yaml", "e10.yaml")),
    Row("a pipe for data", FT + "e11.csv", "a pipe or a device stands where a file is due, at e11.csv; save it as a file", pipe("e11.csv")),
    Row("a pipe for a text", PT + "e12.txt", "a pipe or a device stands where a file is due, at e12.txt; save it as a file", pipe("e12.txt")),
    Row("a pipe in a folder", FT + "e14", "a pipe or a device stands where a file is due, at e14/train.jsonl; save it as a file", several(folder("e14"), pipe("e14/train.jsonl"))),
    Row("a device for data", FT + "/dev/zero", "a pipe or a device stands where a file is due, at /dev/zero; save it as a file"),
    Row("a device for text", PT + "/dev/null", "a pipe or a device stands where a file is due, at /dev/null; save it as a file"),
    Row("a name of spaces", FT + "'e 15.csv'", "no such file or folder, e 15.csv"),
    Row("a name of quotes", FT + "\"it's \\\"e16\\\".csv\"", '''no such file or folder, it's "e16".csv'''),
    Row("a name of another script", FT + "отзывы–評価.csv", "no such file or folder, отзывы–評価.csv"),
    Row("a name of two lines", FT + "'e17\nerror: e18.csv'", r"no such file or folder, e17\\nerror: e18\.csv"),
    Row("a name of no UTF-8", FT + "e19\udcff.csv", r"data: a name that is not UTF-8 \('e19\\udcff.csv'\); rename it" + MENTION),
    Row("a name that steers the terminal", FT + "'e20\x1b[2J\u202e.csv'", r"no such file or folder, e20\\u001b\[2J\\u202e\.csv"),
    Row("an empty name", FT + "''", "the data source has no name; name a file, a folder .*"),
    Row("data that was in memory", FT + "'<data in memory>'", "the data was in the memory of the Python program that made the run, <data in memory>; give .*"),
    Row("a name with a NUL", FT + "'e21\0.csv'", r"no such file or folder, e21\\u0000\.csv"),
    Row("a model with a NUL", "predict --model 'e22\0' {data}", r"no such model folder, e22\\u0000; check the path"),
    Row("an output with a NUL", FTD.replace("-o out", "-o 'e23\0'"), "invalid value for '--output' / '-o': embedded null byte" + MENTION),
    Row("a text with a NUL", PT + "'e24\0.txt'", r"no file's name holds a NUL, e24\\u0000\.txt; check the path"),
    Row("a config with a NUL", "finetune 'e25\0.yaml'", "invalid value for 'CONFIG': embedded null byte" + MENTION),
    Row("a home of nobody", FT + "~nobody-here/e26.csv", "no such file or folder, ~nobody-here/e26.csv; there is no folder ~no.*"),
    Row("a long name", FT + "x" * 300 + ".csv", "no such file or folder .*, x+[.]+; to read texts themselv.*"),
    Row("a long output", FTD.replace("-o out", "-o " + "y" * 300), "cannot be written .*, y+; name another --output"),
    Row("a long model", "predict --model " + "z" * 300 + " {data}", "no such model folder .*, z+; check the path"),
    Row("a long config", "finetune " + "w" * 300 + ".yaml", "cannot be read .*, w+.yaml; check its permissions"),
]  # fmt: skip
VALUES = [
    Row("laughs", CF, r"not valid YAML \(more than 100,000 values\), c\.yaml; mend that line", file("c.yaml", LAUGHS)),
    Row("a config within itself", CF.replace("c.yaml", "circle.yaml"), r"not valid YAML \(more than 100,000 values\), circle\.yaml; mend that line", file("circle.yaml", "architecture: &a {x: *a}")),
    Row("a deep config", CF, "values within values without end, c.yaml; write fewer brackets", file("c.yaml", "architecture: " + "[" * 1000 + "]" * 1000)),
    Row("a deep assignment", FTD + "--set architecture=" + "[" * 1000, "values within values without end, --set architecture; write fewer brackets"),
    Row("a config of NULs", CF, "not valid YAML .*, c.yaml; mend that line", file("c.yaml", b"\0\0\0")),
    Row("a config of two documents", CF, r"not valid YAML \(but found another document\), c\.yaml, line 2; mend that line", file("c.yaml", "seed: 1\n---\nseed: 2\n")),
    Row("a config of UTF-16", CF.replace("c.yaml", "wide.yaml"), "not a UTF-8 text file, wide.yaml; save it as UTF-8", file("wide.yaml", "seed: 1".encode("utf-16"))),
    Row("half a pair in a config", "finetune c.yaml", r"model: a name that is not UTF-8 \('\\ud800'\); rename it, c.yaml; .*", file("c.yaml", 'model: "\\ud800"\ndata: b\noutput: c')),
    Row("half a pair for an architecture", CF, r"architecture: text that is not UTF-8 .*", file("c.yaml", 'architecture: {"\\ud800": 1}')),
    Row("a NaN rate", FTD + "--learning-rate nan", r"learning_rate: input should be a finite number \(it is nan\)" + MENTION),
    Row("an infinite rate", FTD + "--learning-rate inf", r"learning_rate: input should be a finite number \(it is inf\)" + MENTION),
    Row("a NaN in the architecture", FTD + "--set architecture.output_dropout=.nan", r"architecture: nan is no finite number \(it is \{'output_dropout': nan\}\)" + MENTION),
    Row("an infinite architecture", FTD + "--set architecture.output_dropout=.inf", r"architecture: inf is no finite number \(it is \{'output_dropout': inf\}\)" + MENTION),
    Row("a date in the architecture", FTD + "--set architecture.output_dropout=2020-01-01", r"architecture: a date is no value of a config \(it is \{'output_dropout': datetime\.date\(2020, 1, 1\)\}\)" + MENTION),
    Row("a set in the architecture", FTD + "--set 'architecture.output_dropout=!!set {{a}}'", r"architecture: a set is no value of a config \(it is \{'output_dropout': \{'a'\}\}\)" + MENTION),
    Row("bytes in the architecture", FTD + "--set 'architecture.output_dropout=!!binary aGk='", r"architecture: a bytes is no value of a config \(it is \{'output_dropout': b'hi'\}\)" + MENTION),
    Row("a date of no calendar", FTD + "--set architecture.output_dropout=2020-13-45", "Field 'output_dropout' .*'2020-13-45'.*, architecture; mend the value"),
    Row("a number key", CF, "unknown key '1', c.yaml with the options given" + MENTION, file("c.yaml", "1: 2")),
    Row("an empty key", CF, "unknown key '', c.yaml with the options given" + MENTION, file("c.yaml", "'': 2")),
    Row("a key of nothing", FTD + "--set .=1", "unknown key ''" + MENTION),
    Row("a key below a list", FTD + "--set optimizer.betas.0=1", r"optimizer\.betas: input should be a valid tuple \(it is \{'0': 1\}\)" + MENTION),
    Row("a seed too large", FTD + "--seed 999999999999", r"seed: input should be less than 4294967296 \(it is 999999999999\)" + MENTION),
    Row("epochs without end", FTD + "--epochs 999999999999", r"epochs: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a batch without end", FTD + "--batch-size 999999999999", r"batch_size: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a length without end", FTD + "--max-length 999999999999", r"max_length: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a limit without end", FTD + "--limit 999999999999", r"limit: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("steps without end", "pretrain --family ulmfit --size tiny --text {text} -o out --max-steps 999999999999", r"max_steps: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a vocabulary without end", "pretrain --family ulmfit --size tiny --text {text} -o out --vocab-size 999999999999", r"vocab_size: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a window without end", "pretrain --family ulmfit --size tiny --text {text} -o out --bptt 999999999999", r"bptt: input should be less than or equal to 2147483647 \(it is 999999999999\)" + MENTION),
    Row("a width without end", "pretrain --family ulmfit --size tiny --text {text} -o out --set architecture.hidden_size=999999999999", r"architecture: 1e\+12 is too large a number \(it is \{'hidden_size': 999999999999\}\)" + MENTION),
    Row("a layer without end", "extract-features --model {lm} --data {data} -o f.npy --layers 999999999999", "no layer 999999999999, --layers; the model has layers 0 to 2"),
    Row("minutes without end", FTD + "--set checkpoint_minutes=1e999", r"checkpoint_minutes: input should be a finite number \(it is inf\)" + MENTION),
    Row("a share of NaN", EV + "{data} --min-accuracy nan", r"min_accuracy: input should be a finite number \(it is nan\)" + MENTION),
]  # fmt: skip
STRANGE = [*BYTES, *TABLES, *PLACES, *VALUES]
