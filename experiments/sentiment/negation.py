"""Sentences and their negations, for `analyses.negation`: our own, the paper's are not published.

Socher et al. (2013) negated 21 positive and 21 negative sentences. These are as many, written
before any model had seen them.
"""

from __future__ import annotations

__all__ = ["NEGATIVE", "POSITIVE"]

POSITIVE = [
    ("The film is good .", "The film is not good ."),
    ("I liked every minute of it .", "I did n't like a single minute of it ."),
    ("It is a funny comedy .", "It is not a funny comedy ."),
    ("The acting is convincing .", "The acting is not convincing ."),
    ("This movie is worth seeing .", "This movie is not worth seeing ."),
    ("The story works .", "The story does n't work ."),
    ("The script is clever .", "The script is never clever ."),
    ("She gives a great performance .", "She does not give a great performance ."),
    ("It has charm and wit .", "It has neither charm nor wit ."),
    ("The jokes are fresh .", "None of the jokes are fresh ."),
    ("You will enjoy this .", "You wo n't enjoy this ."),
    ("An interesting idea .", "Not an interesting idea ."),
    ("The music is beautiful .", "The music is n't beautiful ."),
    ("The ending is satisfying .", "The ending is hardly satisfying ."),
    ("He is at his best here .", "He is not at his best here ."),
    ("There is much to admire .", "There is nothing to admire ."),
    ("It is moving and honest .", "It is not moving or honest ."),
    ("A thrilling ride .", "Hardly a thrilling ride ."),
    ("The characters are believable .", "The characters are not believable ."),
    ("It kept me entertained .", "It did not keep me entertained ."),
    ("I recommend it .", "I can not recommend it ."),
]
NEGATIVE = [
    ("The film is bad .", "The film is not bad ."),
    ("It is boring .", "It is never boring ."),
    ("The plot is stupid .", "The plot is not stupid ."),
    ("The acting is terrible .", "The acting is not terrible ."),
    ("It is a waste of time .", "It is not a waste of time ."),
    ("The jokes fall flat .", "The jokes do not fall flat ."),
    ("This is a dull movie .", "This is not a dull movie ."),
    ("It insults the audience .", "It does not insult the audience ."),
    ("The pace is slow .", "The pace is n't slow ."),
    ("The dialogue is awful .", "The dialogue is n't awful ."),
    ("It is a mess .", "It is not a mess ."),
    ("The ending is predictable .", "The ending is not predictable ."),
    ("You will regret it .", "You wo n't regret it ."),
    ("A shallow story .", "Not a shallow story ."),
    ("It feels too long .", "It never feels too long ."),
    ("The characters are annoying .", "The characters are never annoying ."),
    ("The effects look cheap .", "The effects do not look cheap ."),
    ("It is ugly and loud .", "It is neither ugly nor loud ."),
    ("He is miscast .", "He is not miscast ."),
    ("The film fails .", "The film does n't fail ."),
    ("It is a disappointment .", "It is no disappointment ."),
]
