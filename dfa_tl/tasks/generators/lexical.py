"""Relations between words: the class of a thing, and opposites."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import relation
from dfa_tl.tasks.generators.words import rows
from dfa_tl.tasks.task import Task

CLASSES = {
    "bird": "crow eagle duck goose turkey",
    "fish": "salmon trout shark cod carp",
    "insect": "bee fly ant butterfly moth mosquito",
    "fruit": "banana cherry grape lemon pear plum apple lime coconut",
    "vegetable": "carrot potato cabbage spinach bean onion lettuce",
    "tool": "hammer saw drill shovel axe",
    "instrument": "guitar piano violin drum",
    "vehicle": "car truck bus taxi train van bicycle motorcycle tractor tram",
    "tree": "pine maple oak palm",
    "drink": "wine beer coffee tea juice milk whiskey",
    "garment": "shirt jacket coat dress skirt glove vest",
    "weapon": "gun rifle pistol sword cannon spear missile",
    "metal": "copper iron tin zinc silver gold aluminum steel",
    "animal": "dog cat horse cow sheep lion tiger bear wolf fox rabbit deer monkey mouse goat pig "
    "elephant camel rat",
    "sport": "tennis hockey football baseball basketball golf soccer",
}
HYPERNYMS = tuple((word, kind) for kind, words in CLASSES.items() for word in words.split())
OPPOSITES = rows("""
    hot:cold big:small old:new fast:slow high:low rich:poor happy:sad strong:weak light:dark
    early:late open:closed wet:dry hard:soft long:short wide:narrow thick:thin full:empty
    clean:dirty loud:quiet good:bad left:right up:down love:hate win:lose buy:sell give:take
    push:pull start:stop begin:end war:peace life:death day:night north:south east:west
    black:white true:false dead:alive same:different first:last above:below inside:outside
    male:female friend:enemy success:failure strength:weakness past:future heaven:hell
    summer:winter public:private expensive:cheap easy:difficult deep:shallow smooth:rough
    sharp:dull sweet:sour safe:dangerous guilty:innocent legal:illegal possible:impossible
    positive:negative major:minor maximum:minimum beautiful:ugly arrive:leave remember:forget
    laugh:cry before:after always:never everything:nothing more:less increase:decrease
    accept:reject victory:defeat ancient:modern question:answer near:far rise:fall
    attack:defend include:exclude internal:external import:export
""")
EITHER_WAY = OPPOSITES + tuple((y, x) for x, y in OPPOSITES)

TASKS = (
    Task(
        "hypernyms",
        "word-relations",
        relation(
            "hypernym",
            HYPERNYMS,
            "The word {x} names a kind of {y}.",
            "We all know that {x} is a type of {y}.",
            "On the list, {x} is in the class {y}.",
            n_examples=3,
        ),
        "The class of a thing; the corrupt prompt names a thing of another class.",
        "Hearst 1992, Automatic Acquisition of Hyponyms from Large Text Corpora; Ettinger 2020, "
        "What BERT Is Not",
    ),
    Task(
        "antonyms",
        "word-relations",
        relation(
            "antonym",
            EITHER_WAY,
            "The opposite of {x} is {y}.",
            "The word {x} means the opposite of {y}.",
            "Just the opposite of {x} would be {y}.",
        ),
        "The opposite of a word; the corrupt prompt gives another word.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
)
