"""The `pictogram` command."""

from __future__ import annotations

from ..lm import adapt_prior, build_documents, train_joint
from ..lm import train as train_lm
from ..tokenizer import adapt, import_tokenizer, train_patches
from ..tokenizer import train as train_tokenizer
from ..tokenizer.command_line import command, new_app, run_app
from . import compress_commands, demo, evaluate_commands, push, serve, sweep_rates, symbols_commands, tokenize
from .demo_report import summarise
from .draw_commands import caption, complete, generate

app = new_app("Images as a discrete language for transformers. Start with: pictogram demo")
app.command("demo")(
    command(
        demo.DemoConfig,
        demo.run_demo,
        "demo",
        """Run the whole chain on the embedded pictures: a few minutes to pictures made from words.

        Example: pictogram demo --output pictogram-demo
        """,
        summarise=summarise,
    )
)
app.command("train-tokenizer")(train_tokenizer.main)
app.command("adapt")(adapt.main)
app.command("train-patches")(train_patches.main)
app.command("import-tokenizer")(import_tokenizer.main)
app.command("tokenize")(tokenize.main)
app.command("build-documents")(build_documents.main)
app.command("train-lm")(train_lm.main)
app.command("train-joint")(train_joint.main)
app.command("adapt-prior")(adapt_prior.main)
app.command("sweep-rates")(sweep_rates.main)
app.command("push")(push.main)
app.command("serve")(serve.main)
app.command("generate")(generate)
app.command("complete")(complete)
app.command("caption")(caption)
app.command("compress")(compress_commands.compress)
app.command("decompress")(compress_commands.decompress)
app.command("info")(compress_commands.info)
app.command("count-codes")(compress_commands.count_codes)
app.add_typer(evaluate_commands.app, name="evaluate")
app.add_typer(symbols_commands.app, name="symbols")


def main() -> None:
    """Entry point of the `pictogram` command."""
    run_app(app)


if __name__ == "__main__":
    main()
