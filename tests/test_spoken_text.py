"""
Verbalisation: what is said for numbers, dates, symbols and abbreviations, and where each replaced stretch came from.

In the tables, "{written|said}" is a replaced stretch; the rest of a text stays as it is.
"""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, texts

from t5gemma_tts.model.spoken_text import Span, SpokenText, verbalize


ENGLISH = """
It costs {$12.50|twelve dollars and fifty cents}.
Only {$1|one dollar} or {$0.99|ninety-nine cents}, not {$1.01|one dollar and one cent}.
He has {$1,000,000|one million dollars} left.
She raised {£3m|three million pounds} today.
Sales of {€1.2 billion|one point two billion euros} last year
A stamp is {50¢|fifty cents}.
Fares: {£2.50|two pounds and fifty pence}, {¥500|five hundred yen}, {20€|twenty euros}
{USD 50|fifty US dollars} or {50 GBP|fifty pounds}
{-|minus }{$5|five dollars} on the account
It is {$5-10|five to ten dollars} or {$5–$10|five to ten dollars}.
Rent is {$900/month|nine hundred dollars per month}.
The city has {1,234,567|one million two hundred thirty-four thousand five hundred sixty-seven} people.
Pi is {3.14|three point one four}, half is {0.5|zero point five} or {.5|point five}.
It was {-|minus }{5|five} outside, then {−|minus }{12|twelve}.
Agent {007|zero zero seven} reports.
About {1e6|one times ten to the power of six} atoms
I have {0|zero} cats, {13|thirteen} dogs and {110|one hundred ten} fish.
The code is {1234567890|one two three four five six seven eight nine zero}.
Version {1.2.3|one point two point three} at {192.168.0.1|one nine two dot one six eight dot zero dot one}
{1|one}{,|, }{2|two}{,|, }{3|three}
The {1st|first}, {2nd|second}, {3rd|third}, {4th|fourth}, {22nd|twenty-second} and {113th|one hundred thirteenth} time
The {21st|twenty-first}-century {20th|twentieth} {1,000th|one thousandth} visitor
In {1999|nineteen ninety-nine} and {2005|two thousand five} and {1905|nineteen oh five} and {2024|twenty twenty-four}.
The {1900s|nineteen hundreds} and {1990s|nineteen nineties} and {80s|eighties}
The {'90s|nineties} and the {’60s|sixties} and the class of {'99|ninety-nine}
{1500|one thousand five hundred} people came in {1500|fifteen hundred}.
{1200|one thousand two hundred} soldiers died in {1066|ten sixty-six}.
On {2024-03-05|March fifth, twenty twenty-four} we met.
On {3/5/2024|March fifth, twenty twenty-four} or {13/5/2024|May thirteenth, twenty twenty-four}
On {March 5, 2024|March fifth, twenty twenty-four}, and on {March 6|March sixth}.
On {5 March|the fifth of March} and the {6 April 1999|sixth of April, nineteen ninety-nine}
{Jan. 5|January fifth} was cold. In {Feb.|February} we left, {Dec 25, 1999|December twenty-fifth, nineteen ninety-nine}.
{May 3-5|May third to fifth}, but I may {5|five}
{March 2024|March twenty twenty-four} was dry.
Come at {3:30 pm|three thirty PM} or {3 pm|three PM} or {9am|nine AM}, then sleep.
We met at {3 p.m.|three PM} and left at {5 p.m.|five PM.} Then we slept.
From {15:45|fifteen forty-five} until {9:05|nine oh five}, at {12:00|twelve o'clock} or {15:00|fifteen hundred}
Open {9-|nine to }{5 pm|five PM}, {9:00|nine o'clock}{–| to }{17:00|seventeen hundred}
It is {16:9|sixteen to nine}.
Call {555-0123|five five five, zero one two three}.
Call {+1 (415) 555-2671|plus one, four one five, five five five, two six seven one} now.
Call {415-555-2671|four one five, five five five, two six seven one}, please.
Call {(415) 555-2671|four one five, five five five, two six seven one}
Call {+44 20 7946 0958|plus four four, two zero, seven nine four six, zero nine five eight}
Run {5 km|five kilometers}, lift {10kg|ten kilograms}, walk {1 km|one kilometer}.
It is {20°C|twenty degrees Celsius} or {68 °F|sixty-eight degrees Fahrenheit}, not {-|minus }{5°C|five degrees Celsius}.
At {60 mph|sixty miles per hour} or {100 km/h|one hundred kilometers per hour}
{3 GB|three gigabytes} at {2.4 GHz|two point four gigahertz}
A {5-km|five-kilometer} run, {5-10 km|five to ten kilometers} long
{10 m²|ten square meters} and {5 min.|five minutes} later {6 ft|six feet}.
A {$20|twenty dollar} bill, a {$5 million|five million dollar} fund
Only {$.50|fifty cents} for {9.5/10|nine point five out of ten}
The ratio is {1.5:1|one point five to one} or {1:2:3|one to two to three}, a {50-50|fifty-fifty} chance.
{1½ km|one and a half kilometers} at a {45°|forty-five degree} angle, {1/2%|one half percent}
{1984|nineteen eighty-four}'s best of {2|two}{^| to the power of }n on {2024/03/05|March fifth, twenty twenty-four}
From {10–12 May|the tenth to twelfth of May}, we met.
Card {4111 1111 1111 1111|four one one one, one one one one, one one one one, one one one one}
He is {5'10"|five foot ten} tall.
{50%|fifty percent}, {12.5 %|twelve point five percent}, {5-10%|five to ten percent}
{1/2|one half} a cup, {½|one half}, {3/4|three quarters}, {2/3|two thirds}
{3 1/4|three and a quarter} cups, {2½|two and a half} spoons, open {24/7|twenty-four seven}
Pages {5-10|five to ten} of {1990–1995|nineteen ninety to nineteen ninety-five}
In {1990–95|nineteen ninety to ninety-five}
We won {3-2|three to two}.
Henry {VIII|the eighth} and Louis {XIV|the fourteenth}, Elizabeth {II|the second} of England
World War {II|two} and Chapter {IV|four}, World War {I|one}.
Henry I thought of you, and Henry {I|the first}, and Rocky {IV|four}.
I saw XXL and CIA agents, as did my sister and I.
{Dr.|Doctor} Smith, {Mr.|Mister} Lee and {Mrs.|Missus} Ito, {Prof.|Professor} Kim
{St.|Saint} Mary's on Main {St.|Street} in {St.|Saint} Louis
She lives on Mulholland {Dr.|Drive} near {Mt.|Mount} Hood.
Tea, {e.g.|for example} green, {i.e.|that is} unfermented, {vs.|versus} coffee, {etc.|et cetera.}
Cats, dogs, {etc.|et cetera}, and Sammy Davis {Jr.|Junior} sang.
{No.|Number} {5|five} is alive. No. I mean it.
{p.|page} {5|five}, {pp.|pages} {5-10|five to ten}, {Fig.|Figure} {2|two}
See {https://www.example.com/path|WWW dot example dot com slash path}.
Mail {john.doe@example.com|john dot doe at example dot com}, please.
Go to {example.org|example dot org}, run {Node.js|Node dot js}.
R{&| and }D, salt {&|and} pepper
{2|two}{+| plus }{2|two}{=| equals }{4|four}
{10|ten}{ - | minus }{5|five} {=|equals} {5|five}
{3|three}{*| times }{4|four}, {3|three} {×|times} {4|four}, {9|nine} {÷|divided by} {3|three}
We are {#|number }{1|one}, {#|hashtag }winning, in {C#|C sharp} and {C++|C plus plus}.
He{/| slash }she came {w/o|without} me {and/or|and or} you.
It takes {~|about }{5|five} days {@|at} home, {±|plus or minus }{2|two}.
The size is {3x|three by }{4|four}, {1920x|one thousand nine hundred twenty by }{1080|one thousand eighty}.
x{²| squared} and x{^10| to the power of ten}
NASA and the FBI use MP{3| three} and B{2| two }B.
COVID-{19|nineteen} and GPT-{4|four} in a {3|three}-year-old
{“|"}Hello,{”|"} she said. It{’|'}s {‘|'}fine{’|'}.
One thing{ — |, }the best{—|, }is this.
Well{ - |, }no{--|, }yes. Paris{–|-}London
Wait{…|... }what{……|...}
Hello{ 👋🏽|} world{ 🎉🎉|}! Hi.{ 👨‍👩‍👧|} Yes.
{👍 |}Fine.
so{\u200b|}me{\ufeff|} word{\u00ad|}s
A café, a naïve Zoë and a {cafe\u0301|café}
{Ａ|A}{Ｂ|B}{Ｃ|C}{\u3000| }{１２３|one hundred twenty-three}{！|!}
Some {**|}bold{**|} and {_|}soft{_|} text with snake{_| }case
A{\u00a0| }blank and a{\u202f| }thin one
"""
JAPANESE = """
価格は{1,000|千}円です。
{12.5%|十二点五パーセント}と{５％|五パーセント}
{2024|二千二十四}年{3|三}月{5|五}日
{2024/3/5|二千二十四年三月五日}と{2024-03-05|二千二十四年三月五日}
{3/5|三月五日}(火)に会う。
午後{3|三}時{30|三十}分に{15:45|十五時四十五分}
{9:00|九時}{~|から}{17:00|十七時}
{0:30|零時三十分}、{0|零}時、{10:20:30|十時二十分三十秒}
電話は{03-1234-5678|ゼロ三の一二三四の五六七八}です。
携帯{090-1234-5678|ゼロ九ゼロの一二三四の五六七八}と{+81-90-1234-5678|プラス八一の九ゼロの一二三四の五六七八}
{〒|郵便番号}{100-0001|一ゼロゼロのゼロゼロゼロ一}
{5km|五キロメートル}走る。{10kg|十キログラム}。{500ml|五百ミリリットル}
{20℃|二十度}、{-|マイナス}{5℃|五度}
{５㎏|五キログラム}、{100㎡|百平方メートル}
{60km/h|六十キロメートル毎時}で{3.5GHz|三点五ギガヘルツ}
{1/2|二分の一}と{½|二分の一}と{2½|二と二分の一}
{3|三}人、{4|四}匹、{100|百}本、{1|一}つ
{100|百}万円と{1000|一千}万円、{1|一}億{2000|二千}万
{3|三}万{5000|五千}円、{10000|一万}円、{10000000|一千万}円
{¥500|五百円}と{$20|二十ドル}と{€3.5|三点五ユーロ}
{5|五}{〜|から}{10|十}分、{10|十}時{～|から}{12|十二}時
{2-1|二対一}で勝った。
{1-2-3|一の二の三}番地
{https://example.com/a|exampleドットcomスラッシュa}を見て。
{user@example.com|userアットマークexampleドットcom}まで
A{&|アンド}B
{1|一}{+|プラス}{2|二}{=|イコール}{3|三}
{3|三}{×|かける}{4|四}、{10|十}{-|引く}{5|五}{=|イコール}{5|五}
{①|一}番、第{Ⅳ|四}章、{No.|ナンバー}{5|五}
こんにちは{👋|}！やったー{🎉🎉|}
{ｶﾞ|ガ}{ﾗ|ラ}{ｽ|ス}と{Ａ|A}{Ｂ|B}、{１２３|百二十三}
{0.5|零点五}秒、{3.05|三点ゼロ五}、{007|ゼロゼロ七}、{0|ゼロ}
そう{——|、}だね。東京〜大阪
iPhone{15|十五}とMP{3|三}とCOVID{-|}{19|十九}
{か\u3099|が}ある{\u200b|}。
{1,234,567|百二十三万四千五百六十七}人
{2111|二千百十一}、{11111|一万千百十一}、{20010|二万十}
第{3|三}回、{20|二十}歳、{1990|千九百九十}年代
ありがとう♡今日は、いい天気ですね！「そう？」
"""
CHINESE = """
价格是{1,000|一千}元。
{12.5%|百分之十二点五}和{５％|百分之五}
{5-10%|百分之五到百分之十}、{3‰|千分之三}
{2024|二〇二四}年{3|三}月{5|五}日
{2024/3/5|二〇二四年三月五日}和{2024-03-05|二〇二四年三月五日}
{1990-1995|一九九〇到一九九五}年、{2000|二〇〇〇}年
{1000|一千}年前、{10|十}年、{2|两}年、{3000|三千}年
下午{3|三}点{30|三十}分、{15:45|十五点四十五分}
{2:30|两点三十分}、{15:05|十五点零五分}、{9:00|九点}{-|到}{17:00|十七点}
电话{13812345678|幺三八幺二三四五六七八}
{010-12345678|零幺零幺二三四五六七八}、{+86 138 1234 5678|加八六幺三八幺二三四五六七八}
{5km|五公里}、{2kg|两公斤}、{500ml|五百毫升}
{20℃|二十摄氏度}、{-5℃|零下五摄氏度}
{60km/h|每小时六十公里}
{５㎏|五公斤}、{100m²|一百平方米}
{1/2|二分之一}、{½|二分之一}、{2½|二又二分之一}
{2|两}个人、{12|十二}个、{22|二十二}个、第{2|二}个
{2|两}本书、{2|两}天、{2|二}月{2|二}日
{200|两百}元、{2000|两千}人、{20000|两万}
{2|两}万、{2|两}亿、{1.5|一点五}亿、第{200|二百}名
{222|两百二十二}、{2222|两千二百二十二}、{12000|一万二千}
{10|十}、{15|十五}、{110|一百一十}、{1010|一千零一十}
{102|一百零二}、{10200|一万零二百}、{100001|十万零一}
{1000002|一百万零二}、{100000000|一亿}、{10010000|一千零一万}
{¥12.50|十二点五元}、{$20|二十美元}、{€100|一百欧元}
{3:2|三比二}、以{3-2|三比二}获胜
{5|五}{-|到}{10|十}、{5|五}{～|到}{10|十}天
{https://example.com/a|example点com斜杠a}很好
{user@example.com|user艾特example点com}
A{&|和}B
{1|一}{+|加}{2|二}{=|等于}{3|三}
{3|三}{×|乘}{4|四}、{10|十}{-|减}{5|五}{=|等于}{5|五}
{①|一}、{No.|第}{5|五}
你好{👋|}！太棒了{🎉|}
{Ａ|A}{Ｂ|B}、{１２３|一百二十三}
{0.5|零点五}、{3.14|三点一四}、{007|零零七}、{0|零}
他说{——|，}不。
iPhone{15|十五}、MP{3|三}
{-|负}{3|三}、{110000|十一万}
你好，世界。今天天气很好！
"""
WHOLE_CHARACTERS = re.compile("[^\ud800-\udfff]*$")
MARKED = re.compile("{([^{}|]*)[|]([^{}|]*)}")
UNITS = (
    "1|1,|1.|1-|1,111|1/|1:| |.|,|-|a.|a@|$|$1|👋|👋 |\u200b|a_|*|http://|www.|e\u0301|+1"
    "|(111) |I|<a|'|1 |Jan. |—|…|年|x1|1e|½"
    "|#|^1|\u00a0-|1年|1°|. |Dr. "
).split("|")
TABLES = {"en": ENGLISH, "ja": JAPANESE, "zh": CHINESE}
ROWS = [(language, row) for language, table in TABLES.items() for row in table.strip().splitlines()]


def read_row(row: str) -> tuple[str, SpokenText]:
    """The original text of a marked row, and what is said for it."""
    original = spoken = ""
    spans, position = [], 0
    for mark in MARKED.finditer(row):
        between = row[position : mark.start()]
        original, spoken = original + between, spoken + between
        ends = len(original) + len(mark[1]), len(spoken) + len(mark[2])
        if mark[1] != mark[2]:
            spans.append(Span(len(original), ends[0], len(spoken), ends[1]))
        original, spoken, position = original + mark[1], spoken + mark[2], mark.end()
    return original + row[position:], SpokenText(spoken + row[position:], tuple(spans))


def pair(original: str, spoken: SpokenText, span: Span) -> tuple[str, str]:
    """What is written and what is said in a span."""
    return original[span.start : span.end], spoken.text[span.spoken_start : span.spoken_end]


def check_spans(original: str, spoken: SpokenText) -> None:
    """Spans are in order and apart, and all between them is the same on both sides."""
    start = spoken_start = 0
    for span in (*spoken.spans, Span(len(original), len(original), len(spoken.text), len(spoken.text))):
        assert start <= span.start <= span.end and spoken_start <= span.spoken_start <= span.spoken_end
        assert original[start : span.start] == spoken.text[spoken_start : span.spoken_start]
        start, spoken_start = span.end, span.spoken_end
    for span in spoken.spans:
        assert original[span.start : span.end] != spoken.text[span.spoken_start : span.spoken_end]


@pytest.mark.parametrize("language, row", ROWS)
def test_what_is_said(language, row):
    original, expected = read_row(row)
    spoken = verbalize(original, language)
    assert spoken.text == expected.text
    replaced = [pair(original, spoken, span) for span in spoken.spans]
    assert replaced == [mark for mark in MARKED.findall(row) if mark[0] != mark[1]]
    assert spoken == expected
    check_spans(original, spoken)


@pytest.mark.parametrize("language, row", ROWS)
def test_words_stay_as_they_are(language, row):
    said = read_row(row)[1].text
    assert verbalize(said, language) == SpokenText(said, ())


@pytest.mark.parametrize(
    "language, text",
    [
        ("en", "It's a well-known fact, isn't it? Yes: we (all) know; \"good\" people do...\nNew line.\tTab."),
        ("ja", "今日は、いい天気ですね！「そう？」と彼は言った。\n東京タワー…"),
        ("zh", "你好，世界。“今天”天气很好！\n是吗？"),
        ("de", "Es kostet 5 € am 3.4.2024…"),
        ("en", ""),
    ],
)
def test_ordinary_text_is_unchanged(language, text):
    assert verbalize(text, language) == SpokenText(text, ())


@cases(150)
@given(text=texts(200).filter(WHOLE_CHARACTERS.match), language=st.sampled_from(["en", "ja", "zh"]))
def test_any_characters(text, language):
    spoken = verbalize(text, language)
    check_spans(text, spoken)
    assert spoken.original_range(0, len(spoken.text))[1] <= len(text)


@cases(150)
@given(
    text=st.text("0123456789,.-/:%$€£ ~+x½²年月日时時円元kmKGgapsthndVIXDr'#*_&@()–—…👋", max_size=60),
    language=st.sampled_from(["en", "ja", "zh"]),
)
def test_any_numbers_and_symbols(text, language):
    spoken = verbalize(text, language)
    check_spans(text, spoken)
    assert not re.search("[0-9]", spoken.text)


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear(language, unit):
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    verbalize(text, language)
    assert time.perf_counter() - start < 5


def test_ranges_of_the_original():
    original = "It costs $5 👋 now, 10 km."
    spoken = verbalize(original, "en")
    assert spoken.text == "It costs five dollars now, ten kilometers."

    def written(word: str) -> str:
        start = spoken.text.index(word)
        first, last = spoken.original_range(start, start + len(word))
        return original[first:last]

    assert written("costs") == "costs" and written("It costs") == "It costs"
    assert written("dollars") == written("five") == "$5"
    assert written("costs five") == "costs $5" and written("now") == "now"
    assert written("dollars now") == "$5 👋 now"
    assert written("kilometers.") == "10 km."
    assert spoken.original_range(0, len(spoken.text)) == (0, len(original))
    assert spoken.original_range(0, 0) == (0, 0)


@pytest.mark.parametrize("start, end", [(-1, 2), (2, 1), (0, 4)])
def test_ranges_outside_of_the_text(start, end):
    with pytest.raises(ValueError, match="start and end must be a range in 0 to 3, got"):
        verbalize("one", "en").original_range(start, end)


@pytest.mark.parametrize(
    "text, language, message",
    [
        (5, "en", "text must be a string, got 5 of type int"),
        (None, "en", "text must be a string"),
        ("\ud800", "en", "text must not have half of a surrogate pair"),
        ("5", None, "language must be a string"),
        ("5", " ", "language must be a tag"),
    ],
)
def test_bad_arguments(text, language, message):
    with pytest.raises(ValueError, match=message):
        verbalize(text, language)


def test_tags_of_languages():
    assert verbalize("5", "EN-us").text == "five"
    assert verbalize("5", "ja-JP").text == "五"
    assert verbalize("2个", "yue").text == "两个"
