"""Inflection: plurals, past tenses and comparatives, regular and irregular."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import relation
from dfa_tl.tasks.generators.words import rows
from dfa_tl.tasks.task import Task

PLURALS = rows("""
    child:children man:men woman:women foot:feet tooth:teeth mouse:mice person:people wife:wives
    knife:knives leaf:leaves wolf:wolves thief:thieves city:cities country:countries baby:babies
    lady:ladies party:parties story:stories family:families body:bodies army:armies
    enemy:enemies box:boxes bus:buses dish:dishes church:churches glass:glasses class:classes
    watch:watches cat:cats dog:dogs car:cars tree:trees book:books bird:birds house:houses
    horse:horses hand:hands friend:friends ship:ships road:roads window:windows flower:flowers
    brother:brothers king:kings lamp:lamps potato:potatoes hero:heroes tomato:tomatoes key:keys
    boy:boys door:doors apple:apples cow:cows chair:chairs river:rivers shoe:shoes ring:rings
    star:stars song:songs letter:letters table:tables copy:copies company:companies match:matches
    boss:bosses brush:brushes lion:lions egg:eggs hat:hats cup:cups coin:coins bridge:bridges
    farm:farms garden:gardens island:islands mountain:mountains village:villages wall:walls
    phone:phones picture:pictures sister:sisters soldier:soldiers student:students town:towns
""")
PASTS = rows("""
    go:went sing:sang run:ran eat:ate drink:drank write:wrote drive:drove fly:flew begin:began
    speak:spoke break:broke take:took give:gave come:came see:saw know:knew think:thought
    buy:bought bring:brought teach:taught catch:caught fight:fought sleep:slept keep:kept
    feel:felt leave:left meet:met win:won lose:lost find:found stand:stood sit:sat tell:told
    sell:sold hear:heard make:made build:built send:sent spend:spent fall:fell draw:drew
    grow:grew throw:threw wear:wore choose:chose steal:stole rise:rose ride:rode hide:hid
    forget:forgot hold:held lead:led understand:understood shoot:shot dig:dug blow:blew wake:woke
    say:said pay:paid play:played walk:walked talk:talked work:worked cook:cooked dance:danced
    jump:jumped laugh:laughed cry:cried study:studied call:called help:helped wait:waited
    travel:traveled paint:painted smile:smiled listen:listened shout:shouted stop:stopped
    plan:planned ask:asked visit:visited rest:rested climb:climbed
""")
COMPARATIVES = rows("""
    big:bigger small:smaller tall:taller short:shorter long:longer old:older young:younger
    fast:faster slow:slower high:higher low:lower strong:stronger weak:weaker rich:richer
    poor:poorer happy:happier  warm:warmer cool:cooler hard:harder
    soft:softer wide:wider narrow:narrower thick:thicker thin:thinner light:lighter dark:darker
    bright:brighter clean:cleaner loud:louder good:better bad:worse deep:deeper
    heavy:heavier easy:easier early:earlier late:later safe:safer smart:smarter
    cheap:cheaper large:larger great:greater fine:finer close:closer near:nearer
    simple:simpler healthy:healthier tight:tighter tough:tougher clear:clearer
    broad:broader strange:stranger new:newer quick:quicker
""")

TASKS = (
    Task(
        "plural",
        "inflection",
        relation(
            "plurals",
            PLURALS,
            "First there was one {x}, and then there were two {y}.",
            "The plural of {x} is {y}.",
            "You may see a single {x} or many {y}.",
        ),
        "The plural of a noun; the corrupt prompt has another noun.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
    Task(
        "past_tense",
        "inflection",
        relation(
            "tense",
            PASTS,
            "Today they {x}, just as yesterday they {y}.",
            "The past tense of {x} is {y}.",
            "Every day we {x}, and last week we also {y}.",
        ),
        "The past tense of a verb; the corrupt prompt has another verb.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
    Task(
        "comparative",
        "inflection",
        relation(
            "comparative",
            COMPARATIVES,
            "This one is {x}, but that one is even {y}.",
            "The comparative of {x} is {y}.",
            "It was {x} before, and now it is {y}.",
        ),
        "The comparative of an adjective; the corrupt prompt has another adjective.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
    ),
)
