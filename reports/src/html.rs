//! Prints a document as one HTML page that needs nothing beside it: style and figures are inside, nothing is
//! loaded, no script runs.

use std::fmt::Write;

use crate::document::{Block, Document, Table};
use crate::figures::colour_variables;

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn page(document: &Document) -> String {
    let mut body = String::new();
    for block in &document.blocks {
        write_block(&mut body, block);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n\
         :root {{ {}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {}}} }}\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n<header>\n<h1>{}</h1>\n<p class=\"subtitle\">{}</p>\n</header>\n{body}</main>\n</body>\n</html>\n",
        escaped(&document.title),
        colour_variables(false),
        colour_variables(true),
        text(&document.title),
        text(&document.subtitle),
    )
}

fn write_block(out: &mut String, block: &Block) {
    // Writing to a String cannot fail.
    let _ = match block {
        Block::Heading(title) => writeln!(out, "<h2>{}</h2>", text(title)),
        Block::Paragraph(paragraph) => writeln!(out, "<p>{}</p>", text(paragraph)),
        Block::Verdict {
            headline,
            text: verdict,
        } => writeln!(
            out,
            "<section class=\"verdict\">\n<p class=\"headline\">{}</p>\n<p>{}</p>\n</section>",
            text(headline),
            text(verdict)
        ),
        Block::Warning(warning) => writeln!(out, "<p class=\"warning\">{}</p>", text(warning)),
        Block::List(items) => {
            out.push_str("<ul>\n");
            for item in items {
                let _ = writeln!(out, "<li>{}</li>", text(item));
            }
            writeln!(out, "</ul>")
        }
        Block::Table(table) => {
            write_table(out, table);
            Ok(())
        }
        Block::Figure {
            title,
            caption,
            name,
            inline_svg,
        } => writeln!(
            out,
            "<figure id=\"{}\">\n<h3>{}</h3>\n{}\n<figcaption>{}</figcaption>\n</figure>",
            escaped(name),
            text(title),
            inline_svg.trim_end(),
            text(caption)
        ),
        Block::Folded {
            summary,
            text: verbatim,
            ..
        } => writeln!(
            out,
            "<details>\n<summary>{}</summary>\n<pre><code>{}</code></pre>\n</details>",
            text(summary),
            escaped(verbatim.trim_end())
        ),
    };
}

fn write_table(out: &mut String, table: &Table) {
    let class = |column: usize| {
        if table.words.contains(&column) {
            ""
        } else {
            " class=\"number\""
        }
    };
    out.push_str("<div class=\"table\"><table>\n<thead><tr>");
    for (column, cell) in table.header.iter().enumerate() {
        let _ = write!(
            out,
            "<th scope=\"col\"{}>{}</th>",
            class(column),
            text(cell)
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (column, cell) in row.cells.iter().enumerate() {
            let _ = match (column, row.colour) {
                (0, Some(colour)) => write!(
                    out,
                    "<th scope=\"row\"><span class=\"swatch\" style=\"background: var(--{colour})\"></span>{}</th>",
                    text(cell)
                ),
                (0, None) => write!(out, "<th scope=\"row\">{}</th>", text(cell)),
                _ if table.words.contains(&column) => write!(out, "<td>{}</td>", text(cell)),
                _ => write!(out, "<td class=\"number\">{}</td>", unbroken(&text(cell))),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    if !table.note.is_empty() {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", text(&table.note));
    }
}

/// A number with its unit stays on one line; only an interval may go below its mean.
fn unbroken(number: &str) -> String {
    number.replace(' ', "&nbsp;").replace("&nbsp;[", " [")
}

/// Escapes, and turns `backticks` into code.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for (i, part) in raw.split('`').enumerate() {
        // Odd parts stand between two marks, unless the last mark has no partner.
        if i % 2 == 1 {
            let _ = write!(out, "<code>{}</code>", escaped(part));
        } else {
            out.push_str(&escaped(part));
        }
    }
    out
}

pub(crate) fn escaped(raw: &str) -> String {
    raw.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_cannot_break_out() {
        assert_eq!(
            text("<b> `a<b` & \"q\""),
            "&lt;b&gt; <code>a&lt;b</code> &amp; &quot;q&quot;"
        );
    }
}
