//! Prints a document as Markdown (GitHub's dialect).

use std::fmt::Write;

use crate::document::{Block, Document, Table};

/// The page; figures are those beside it under `figures/`.
pub(crate) fn page(document: &Document) -> String {
    let mut out = format!(
        "# {}\n\n{}\n",
        text(&document.title),
        text(&document.subtitle)
    );
    for block in &document.blocks {
        out.push('\n');
        write_block(&mut out, block);
    }
    out
}

fn write_block(out: &mut String, block: &Block) {
    // Writing to a String cannot fail.
    let _ = match block {
        Block::Heading(title) => writeln!(out, "## {}", text(title)),
        Block::Paragraph(paragraph) => writeln!(out, "{}", text(paragraph)),
        Block::Verdict {
            headline,
            text: verdict,
        } => writeln!(out, "> **{}**\n>\n> {}", text(headline), text(verdict)),
        Block::Warning(warning) => writeln!(out, "> **Note:** {}", text(warning)),
        Block::List(items) => {
            for item in items {
                let _ = writeln!(out, "- {}", text(item));
            }
            Ok(())
        }
        Block::Table(table) => {
            write_table(out, table);
            Ok(())
        }
        Block::Figure {
            title,
            caption,
            name,
            ..
        } => writeln!(
            out,
            "### {}\n\n![{}](figures/{name}.svg)\n\n{}",
            text(title),
            text(title).replace(['[', ']'], ""),
            text(caption)
        ),
        Block::Folded {
            summary,
            language,
            text: verbatim,
        } => {
            let fence = fence(verbatim);
            writeln!(
                out,
                "<details>\n<summary>{}</summary>\n\n{fence}{language}\n{}\n{fence}\n\n</details>",
                text(summary),
                verbatim.trim_end()
            )
        }
    };
}

fn write_table(out: &mut String, table: &Table) {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    out.push_str(&line(&mut table.header.iter().map(|cell| text(cell))));
    out.push_str(&line(&mut (0..table.header.len()).map(|column| {
        if table.words.contains(&column) {
            ":--".to_string()
        } else {
            "--:".to_string()
        }
    })));
    for row in &table.rows {
        out.push_str(&line(&mut row.cells.iter().map(|cell| text(cell))));
    }
    if !table.note.is_empty() {
        let _ = writeln!(out, "\n{}", text(&table.note));
    }
}

/// Keeps what records hold from being read as markup; backticks stay marks.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut code = false;
    for c in raw.chars() {
        match c {
            '`' => {
                code = !code;
                out.push(c);
            }
            '|' => out.push_str("\\|"),
            '\n' | '\r' => out.push(' '),
            '<' if !code => out.push_str("&lt;"),
            '*' | '_' | '\\' | '#' if !code => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A fence longer than any run of backticks in the text.
fn fence(verbatim: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in verbatim.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat((longest + 1).max(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_cannot_break_out() {
        assert_eq!(text("a|b <i>*x*\n`c_d`"), "a\\|b &lt;i>\\*x\\* `c_d`");
        assert_eq!(fence("x ```` y"), "`````");
    }
}
