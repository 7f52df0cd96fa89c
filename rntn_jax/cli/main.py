"""`rntn-jax`: what an installed package can do without a checkout.

Arguments are read before JAX is imported, which takes a second.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import rntn_jax
from rntn_jax.cli.process import check_output, messages
from rntn_jax.compilation import cached

if TYPE_CHECKING:
    from rntn_jax.annotate import Pipeline

__all__ = ["main"]

EPILOG = """
examples:
  rntn-jax sentiment "A gorgeous, witty film."        label a text and each of its phrases
  rntn-jax label labelled.txt --output=train.txt      training trees of labelled sentences
  rntn-jax tag --model=model.safetensors words.txt    columns in, columns with tags out
  rntn-jax parse "The dog ate my homework."           words, tags and dependency trees
  rntn-jax infer grid.uai --query=map --method=loopy  the most probable labelling of a network

A file may be - for standard input. Compiled programs are kept in the user's cache
(RNTN_JAX_CACHE=0: they are not), so that only the first call takes seconds. Training needs a
checkout: ./launch.sh help.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that the arguments name (`sys.argv` by default).

    Raises:
        SystemExit: with a message for faults in arguments, files or data.
    """
    given = _parser().parse_args(argv)
    with messages():
        makes_folder = given.run is _sentiment and given.format == "svg"
        check_output(None if makes_folder else given.output)
        given.run(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rntn-jax",
        description="Trees, labels, tags and probabilities by the models of rntn_jax.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rntn_jax {rntn_jax.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_sentiment, _add_label, _add_tag, _add_parse, _add_infer):
        add(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    about: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A command with help, examples, and --output."""
    command = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog="examples:\n" + textwrap.indent(textwrap.dedent(examples).strip(), "  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("--output", help="file to write (default: standard output)")
    return command


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="FILE",
        action="append",
        default=[],
        help="file of another sentiment model than that in the package; given several times, the "
        "mean of all answers",
    )
    command.add_argument(
        "--builder", metavar="FILE", help="file of another tree builder than that in the package"
    )


def _add_sentiment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "sentiment",
        _sentiment,
        "the sentiment of English texts, and of each of their phrases, as trees",
        """
        rntn-jax sentiment "A gorgeous, witty film."
        rntn-jax sentiment reviews.txt --format=json
        rntn-jax sentiment reviews.txt --format=html --output=trees.html
        rntn-jax sentiment --serve
        """,
    )
    command.add_argument(
        "text", nargs="*", help="a text, or a file of texts, a line each, of sentiment trees, or "
        "of Penn Treebank parses"
    )  # fmt: skip
    command.add_argument(
        "--serve", action="store_true",
        help="instead serve a page on this machine: type sentences, see their trees, correct them",
    )  # fmt: skip
    command.add_argument("--port", type=int, default=8765, help="of the page; 0: any that is free")
    command.add_argument(
        "--corrections", metavar="FILE", default="corrections.txt",
        help="file to which the page writes every correction (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--no-open", action="store_true", help="do not open a browser for the page"
    )
    command.add_argument(
        "--format", choices=("text", "json", "brackets", "svg", "html"), default="text",
        help="what to write (default: %(default)s); several svg: --output is a folder",
    )  # fmt: skip
    command.add_argument(
        "--input", choices=("auto", "text", "trees", "parses"), default="auto",
        help="what is given (default: a guess)",
    )  # fmt: skip
    _add_models(command)


def _load(given: argparse.Namespace) -> Pipeline:
    """The models that were named."""
    from rntn_jax.cli import sentiment

    first = given.model[0] if given.model else None
    return sentiment.load(first, given.builder, *given.model[1:])


def _sentiment(given: argparse.Namespace) -> None:
    if given.serve == bool(given.text):
        raise ValueError("sentiment takes either a text or --serve")
    from rntn_jax.cli import sentiment

    annotator = _load(given)
    if given.serve:
        from rntn_jax.annotate.serve import serve

        with cached():
            serve(annotator, given.corrections, port=given.port, browser=not given.no_open)
        return
    text = " ".join(given.text)
    sentiment.predict(annotator, text, given.input, given.format, given.output)


def _add_label(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "label",
        _label,
        "training trees of sentences and phrases that you labelled",
        """
        rntn-jax label labelled.txt --output=train.txt

        labelled.txt: a label (0 to 4) and a text a line; each phrase of it on a line of its own
        below, and a blank line between sentences:
          1 It is not a good film.
          4 good
        """,
    )
    command.add_argument("file", help="labelled sentences and phrases")
    _add_models(command)


def _label(given: argparse.Namespace) -> None:
    from rntn_jax.cli import label

    label.label(_load(given), given.file, given.output)


def _add_tag(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "tag",
        _tag,
        "tags for files of columns (words, parts of speech), by a model of your own",
        """
        rntn-jax tag --model=runs/chunking/demo/model.safetensors words.txt
        rntn-jax tag --model=crf.safetensors --marginals attributes.txt

        The model comes from ./launch.sh chunking, or from rntn_jax.tagger.CRF.save; for the
        latter each column, after a tab, is an attribute.
        """,
    )
    command.add_argument("file", help="a token a line, a blank line between sentences")
    command.add_argument("--model", metavar="FILE", required=True, help="the trained model")
    command.add_argument(
        "--marginals", action="store_true", help="print the probabilities of the tags too"
    )
    command.add_argument(
        "--constrained", action="store_true", help="only well-formed sequences of chunk tags"
    )


def _tag(given: argparse.Namespace) -> None:
    from rntn_jax.cli import tag

    tag.tag(
        given.model,
        given.file,
        marginals=given.marginals,
        constrained=given.constrained,
        output=given.output,
    )


def _add_parse(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "parse",
        _parse,
        "sentences, words, tags, features and dependency trees of raw English text",
        """
        rntn-jax parse "The dog ate my homework."
        rntn-jax parse letter.txt --format=html --output=trees.html
        rntn-jax parse --evaluate=treebank.conllu
        """,
    )
    command.add_argument("text", nargs="*", help="a text, or a file of raw text")
    command.add_argument(
        "--evaluate", metavar="FILE",
        help="instead score the analysis of the raw text of this treebank (CoNLL-U)",
    )  # fmt: skip
    command.add_argument(
        "--format", choices=("conllu", "text", "json", "svg", "html"),
        help="what to write (default: conllu)",
    )  # fmt: skip
    command.add_argument(
        "--model", metavar="FILE", help="file of another model than that in the package"
    )


def _parse(given: argparse.Namespace) -> None:
    if (given.evaluate is not None) == bool(given.text):
        raise ValueError("parse takes either a text or --evaluate")
    if given.evaluate is not None and given.format is not None:
        raise ValueError("--format does nothing with --evaluate")
    from rntn_jax.cli import parse

    if given.evaluate is not None:
        parse.evaluate(given.model, given.evaluate, given.output)
    else:
        text = " ".join(given.text)
        parse.parse(given.model, text, given.format or "conllu", given.output)


def _add_infer(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "infer",
        _infer,
        "marginals, the best labelling or the partition function of a network (UAI files)",
        """
        rntn-jax infer grid.uai
        rntn-jax infer grid.uai --query=pr --evidence=grid.uai.evid
        rntn-jax infer wide.uai --query=map --method=loopy --output=wide.uai.MPE
        """,
    )
    command.add_argument(
        "file", help="a network MARKOV; of three variables and more to a factor by exact only"
    )
    command.add_argument(
        "--query", choices=("mar", "map", "pr"), default="mar",
        help="mar: marginals (the default); map: the most probable labelling; pr: log10 of the "
        "partition function",
    )  # fmt: skip
    command.add_argument(
        "--method", choices=("exact", "loopy", "tree_reweighted", "mean_field"), default="exact",
        help="how (default: %(default)s); the others are approximate, for networks too wide for it",
    )  # fmt: skip
    command.add_argument("--evidence", metavar="FILE", help="observed variables (.uai.evid)")


def _infer(given: argparse.Namespace) -> None:
    from rntn_jax.cli.infer import infer

    infer(
        given.file,
        query=given.query,
        method=given.method,
        evidence=given.evidence,
        output=given.output,
    )


if __name__ == "__main__":
    sys.exit(main())
