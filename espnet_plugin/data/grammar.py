"""The mini corpus's own English: a small grammar over homes, weather, numbers, places, stories.

Every sentence is derived from the rules below, so nothing is quoted from anywhere. The
vocabulary is closed (:func:`vocabulary`), and the parts of the corpus share no sentence
(:func:`draw_sentences` refuses what was drawn before).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Dict, List, Optional, Set

RULES: Dict[str, str] = {
    "sentence": "{home} | {home} | {weather} | {weather} | {numbers} | {numbers} | {places}"
    " | {places} | {story} | {story} | {story} | {work} | {work} | {speech} | {speech}",
    # the home
    "home": "please {put} the {thing} {on} the {furniture}"
    " | please {put} the {colour} {thing} {on} the {size} {furniture}"
    " | the {colour} {thing} is {on} the {furniture}"
    " | {person} {put_past} the {thing} {on} the {size} {furniture}"
    " | there is a {colour} {thing} in the {room}"
    " | turn {onoff} the {device} in the {room}"
    " | {who} cleaned the {room} and the {room} {when_past}"
    " | the {device} in the {room} is {broken}"
    " | we need {food} and {food} for {meal}"
    " | {person} cooked {food} with {food} for {meal}"
    " | could you bring the {thing} from the {room}"
    " | {thing} and {thing} belong in the {room}",
    "put": "put | leave | place | drop | keep",
    "put_past": "left | found | placed | dropped | kept",
    "on": "on | under | behind | beside | near",
    "onoff": "on | off",
    "thing": "book | cup | lamp | key | bottle | basket | blanket | hammer | mirror | candle"
    " | letter | plate | spoon | clock | bag | ball | coat | pencil | ticket | brush",
    "furniture": "table | chair | shelf | desk | cupboard | bed | sofa | drawer",
    "room": "kitchen | garden | bathroom | hall | office | garage | cellar | bedroom",
    "device": "radio | heater | oven | computer | fan | television | machine | light",
    "broken": "broken | working again | too loud | very old | still warm",
    "food": "bread | butter | cheese | rice | fish | soup | apples | honey | tomatoes | milk"
    " | eggs | chicken",
    "meal": "breakfast | lunch | dinner | supper",
    "colour": "red | green | blue | yellow | white | black | brown | purple | silver",
    "size": "small | large | tall | narrow | heavy | broken | empty | wooden",
    # the weather
    "weather": "{day} will be {sky} and {temperature}"
    " | expect {fall} in the {direction} on {day}"
    " | {fall} is coming from the {direction}"
    " | the {time} was {sky} but {temperature}"
    " | it will be {tens} degrees {when}"
    " | after {month} the {nature} is {temperature} and {sky}"
    " | there was {fall} over the {nature} {when_past}"
    " | the storm reached the {direction} coast in {month}"
    " | {sky} weather follows the {fall} in {month}",
    "sky": "cloudy | sunny | foggy | dark | bright | clear | stormy | grey",
    "temperature": "cold | warm | hot | cool | dry | wet | mild | freezing",
    "fall": "rain | snow | thunder | fog | hail | heavy rain | light snow",
    "direction": "north | south | east | west",
    "time": "morning | evening | afternoon | night | winter | summer | spring | autumn",
    "day": "monday | tuesday | wednesday | thursday | friday | saturday | sunday",
    "month": "january | february | march | april | june | july | august | october | november"
    " | december",
    "when": "tomorrow | next week | on {day} | this {time} | soon | in {month}",
    "when_past": "yesterday | last week | on {day} | last {time} | an hour ago | in {month}",
    # numbers
    "numbers": "the number is {digit} {digit} {digit} {digit}"
    " | call {digit} {digit} {digit} {digit} {digit} {when}"
    " | {number} plus {number} makes {number}"
    " | {person} paid {number} dollars for the {thing}"
    " | the {vehicle} leaves at {hour} {minute}"
    " | there are {number} {animals} in the {nature}"
    " | room {digit} {digit} {digit} is {free}"
    " | we sold {number} of {number} {goods}"
    " | page {number} has {digit} pictures"
    " | they counted {number} {goods} {when_past}",
    "digit": "zero | one | two | three | four | five | six | seven | eight | nine",
    "hour": "one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve",
    "minute": "fifteen | thirty | forty five | twenty | ten",
    "number": "{tens} | {tens} {unit} | {teen} | {unit} hundred | {unit} thousand",
    "tens": "twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety",
    "unit": "one | two | three | four | five | six | seven | eight | nine",
    "teen": "ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | eighteen",
    "free": "free | closed | full | ready",
    "goods": "boxes | tickets | apples | flowers | stones | bottles | books | coins",
    # places and travel
    "places": "the {building} is {where} the {place}"
    " | take the {vehicle} to the {building}"
    " | walk past the {building} and turn {turn}"
    " | the road to the {place} goes {turn}"
    " | {person} travelled by {vehicle} to the {place}"
    " | how far is the {place} from the {building}"
    " | our {vehicle} stopped {where} the {building}"
    " | the {vehicle} from the {place} is {late}"
    " | the {size} {building} {where} the {place} is {free}",
    "building": "station | library | school | hospital | market | museum | hotel | church"
    " | factory | bakery | theatre | airport",
    "where": "near | behind | beside | across from | before | opposite",
    "place": "river | bridge | village | harbour | park | square | city | mountain | island"
    " | valley | tower",
    "vehicle": "train | bus | boat | taxi | bicycle | plane | truck | tram",
    "turn": "left | right | left again | right at the {place} | north | south",
    "late": "late | early | on time | not running today",
    # small stories
    "story": "{once} a {kind} {animal} {did} the {nature}"
    " | the {kind} {animal} {saw} a {kind} {animal}"
    " | {person} {saw} a {kind} {animal} in the {nature}"
    " | {who} told us a story about the {kind} {animal}"
    " | the {animal} slept under a {kind} tree"
    " | {person} and {person} walked through the {nature}"
    " | when the {animal} came the {animals} ran away"
    " | nobody knew why the {kind} {animal} {did} the {nature}"
    " | the {kind} {ruler} gave {person} a {colour} {thing}"
    " | {once} {person} lived near a {kind} {animal}",
    "once": "once | long ago | one day | one night",
    "animal": "fox | wolf | rabbit | horse | tiger | mouse | dog | cat | eagle | bear | goat"
    " | monkey",
    "animals": "birds | sheep | horses | dogs | cows | ducks | rabbits | children",
    "kind": "little | old | young | clever | brave | gentle | hungry | quiet | tired | strange"
    " | lazy | proud",
    "did": "crossed | left | watched | loved | searched | feared",
    "saw": "saw | followed | met | helped | heard | chased | visited",
    "nature": "forest | lake | field | desert | hill | meadow | beach | ocean | jungle",
    "ruler": "king | queen | farmer | doctor | captain | teacher | sailor",
    "person": "anna | peter | maria | thomas | susan | david | helen | george | laura | martin",
    "who": "my {relative} | your {relative} | our {relative} | the {ruler}",
    "relative": "mother | father | sister | brother | uncle | neighbour | grandmother | friend",
    # work and school
    "work": "{who} works at the {building} on {day}"
    " | the {ruler} wants to {study} {subject}"
    " | {person} will {study} {subject} {when}"
    " | my {relative} forgot the {thing} {when_past}"
    " | the meeting about {subject} starts at {hour}"
    " | {who} wrote a {size} {paper} about {subject}"
    " | they {study} {subject} at the {building}"
    " | is the {paper} about {subject} ready",
    "study": "learn | study | teach | explain | discuss",
    "subject": "music | history | science | language | money | physics | painting | football",
    "paper": "report | letter | book | song | article | plan",
    # requests and talk
    "speech": "{brief} | {brief} | {brief} | {brief} | please tell {person} to {act} {when}"
    " | can you {act} with {person} {when}"
    " | {person} asked whether the {vehicle} was {late}"
    " | do not {act} before {meal}"
    " | i think {person} likes {subject} and {food}"
    " | what happened to the {kind} {animal}"
    " | where did {person} find the {colour} {thing}"
    " | {who} said that {person} must {act} {when}"
    " | why is the {building} always {free} on {day}"
    " | they never {act} in the {time}",
    "brief": "please {act} {when}"
    " | they {act} {when}"
    " | {person} is {kind}"
    " | open the {room}"
    " | {day} was {temperature}"
    " | {digit} {digit} {digit} {digit}"
    " | my {relative} {saw} {person}"
    " | the {animal} is {kind}"
    " | bring {food} and {food}"
    " | where is the {thing}"
    " | {person} likes {subject}"
    " | the {vehicle} is {late}",
    "act": "swim | dance | sing | wait | travel | work | cook | rest | play | run | sleep | speak",
}

_PRODUCTIONS: Dict[str, List[List[str]]] = {
    name: [production.split() for production in rule.split("|")] for name, rule in RULES.items()
}


def vocabulary() -> List[str]:
    """All words (lower case, sorted) that the grammar can produce."""
    words = {
        word
        for productions in _PRODUCTIONS.values()
        for production in productions
        for word in production
        if not word.startswith("{")
    }
    return sorted(words)


def sentence(rng: random.Random, symbol: str = "sentence") -> List[str]:
    """Derive the words of one sentence from ``symbol``.

    Only ``rng.random()`` is drawn upon: Python guarantees its sequence from version to version.
    """
    productions = _PRODUCTIONS[symbol]
    words: List[str] = []
    for token in productions[int(rng.random() * len(productions))]:
        slot = re.fullmatch(r"\{(\w+)\}", token)
        words.extend(sentence(rng, slot[1]) if slot else [token])
    return words


def with_articles(words: List[str]) -> List[str]:
    """``a`` as ``an`` before a vowel (the grammar has no "hour" or "university" after ``a``)."""
    return [
        "an" if word == "a" and following[:1] in "aeiou" and following else word
        for word, following in zip(words, [*words[1:], ""], strict=True)
    ]


def draw_sentences(
    rng: random.Random,
    count: int,
    taken: Set[str],
    known: Optional[Counter] = None,
    min_count: int = 5,
) -> List[str]:
    """Draw ``count`` different sentences of 3 to 12 words and add them to ``taken``.

    Args:
        rng: the source of randomness.
        count: how many sentences.
        taken: sentences that must not be drawn (those of all parts so far).
        known: word counts of the training part; where given, a sentence is drawn only if each
            of its words occurs there at least ``min_count`` times.
        min_count: see ``known``.

    Raises:
        ValueError: the grammar (with these bounds) has too few sentences left.
    """
    drawn: List[str] = []
    for _ in range(200 * count + 1000):
        if len(drawn) == count:
            return drawn
        words = with_articles(sentence(rng))
        text = " ".join(words)
        if not 3 <= len(words) <= 12 or text in taken:
            continue
        if any(len(word) > 4 and words.count(word) > 1 for word in words):
            continue
        if known is not None and any(known[word] < min_count for word in words):
            continue
        taken.add(text)
        drawn.append(text)
    if len(drawn) == count:
        return drawn
    raise ValueError(
        f"only {len(drawn)} of {count} new sentences found; ask for a smaller part"
        " or for more training minutes"
    )
