"""Tweets on which BERTweet's normalisation is compared with the reference, put together at random from a frozen stream.

Shared by `make_tweets.py`, which needs transformers, and by the tests. It imports neither.
"""

import random

ODD = {
    "faces": r":) :-( ;D =P 8-) <3 >:( (: d: :'( :o) :* D: (-: ):< =] {: @: :@ :| |: \: :\ <:| >:)",
    "users": "@user @User_name @ @@ @é @user's foo@bar.com a.b+c@d-e.co.uk x@_gmail.com_ me@x.y. a@b",
    "addresses": (
        "http://t.co/abc https://www.a.com/b(c)d http: https:x https://e.com/a_(b_(c)) www.x.com WWW.X www. e.com "
        "e.com/ e.com/a?b=c a.b.cd/e foo.na@e.com bit.ly/xyz. http://a.b/c,d! HTTP://X http://!?!? https:///q "
        "(http://x.y/z) naïve.com \u017fite.com exa-mple.co http:a(x)!)"
    ),
    "hashtags": "#tag #tag's #a #_x ##two #don't- #1st #é_é # #tag-",
    "entities": (
        "&amp; &lt;3 &gt; &#39; &#x41; &#X41; &xi; &rsquo; &hellip; &#128; &#129; &#99999999999; &nope; &; &#; &#x; "
        "&x; &copy &eacute; &quot;"
    ),
    "repeated": "!!!! ...... .. ____ ---- éééé soooo 1111 ’’’’ ……",
    "arrows": "-> <- --> <-- ---> < > <> <b> </a> <mask>",
    "contractions": (
        "don't can't cannot won’t ain't I'm you're he's she'll they'd we've n't isn&rsquo;t rock'n'roll o'clock -a- "
        "a-b well-known x' 'y it's- cann't CANNOT p.m. a.m. p.m a.m P.M."
    ),
    "numbers": (
        "1,000 3.14 1/2 10:30 2019-01-02 -5 +5- 1.5- ١٢٣ ½ ² 1½ Ⅷ 555.123.4567 1-800-555-0199 1234567 (555)123-4567"
    ),
    "emoji": "❤️ ❤ 👩‍👩‍👧 👍🏽 🇩🇪 😂 😂😂😂😂 🅰️ Ⓐ ™ © ☺ ㊗ 1️⃣ 🤦🏾‍♀️ 🥲 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "letters": "日本語 été e\u0301 \u0301 \u200d \ufe0f \u200b \u212a \u0130 ı ª ¬ ß Hello_World _ __ a_ x1 1x a1b2 ‿",
    "marks": "’ … “ ” ‘ « » — – ' \" ` ~ ^ $ % & * + = { } [ ] | \\ / : ; , ? ! . ¿",
    "words": "hello world A I the to of and is that it was for on you",
}
PARTS = [part.split(" ") for part in ODD.values()]
SPACED = ["+1 (555) 123-4567", "123 4567", "+0 123 * 456 - 7890", ". . .", "p . m .", "a . m", "<a b>", "\u00a0", "\n"]
SEPARATORS = ["", " ", " ", " ", "  ", "\n", "\t", "\x1c", "\x85", "\u2028"]


def tweets(count: int) -> list[str]:
    """Random tweets of one to eight parts, each kind as often as the others."""
    stream = random.Random(15)
    kinds = [*PARTS, SPACED]
    return [
        "".join(stream.choice(stream.choice(kinds)) + stream.choice(SEPARATORS) for _ in range(stream.randint(1, 8)))
        for _ in range(count)
    ]
