"""Random trees for the tests of `rntn_jax.data`."""

from hypothesis import strategies as st

# Anything UTF-8 can hold but brackets and ASCII blanks; other blanks, such as U+00A0, are words.
words = st.text(
    st.characters(codec="utf-8", exclude_characters="() \t\n\r\f\v\0"), min_size=1, max_size=6
)

SPACE = st.just(" ")
DEEP = 100_000  # brackets within brackets; nothing recurses


@st.composite
def brackets(draw, num_classes=5, max_leaves=10, word=words, blank=SPACE):
    """A binary tree as text; with `blank=SPACE` exactly as `Tree.to_brackets` writes it."""
    label = st.integers(-1, num_classes - 1)
    parts = [
        f"({draw(label)}{draw(blank)}{one})"
        for one in draw(st.lists(word, min_size=1, max_size=max_leaves))
    ]
    while len(parts) > 1:
        i = draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [f"({draw(label)}{draw(blank)}{parts[i]}{draw(blank)}{parts[i + 1]})"]
    return parts[0]
