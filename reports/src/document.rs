//! A report as blocks, before it is printed as HTML or Markdown.
//!
//! Text carries one mark: `backticks` around names of arms, files and settings.

/// The whole report.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub title: String,
    /// One line under the title.
    pub subtitle: String,
    pub blocks: Vec<Block>,
}

/// A piece of the report.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    Heading(String),
    Paragraph(String),
    /// The answer, set apart: headline and text.
    Verdict {
        headline: String,
        text: String,
    },
    /// Something that the reader must not overlook.
    Warning(String),
    List(Vec<String>),
    Table(Table),
    /// Title, caption, file name without its ending, the drawing for the page.
    Figure {
        title: String,
        caption: String,
        name: String,
        inline_svg: String,
    },
    /// Folded away: summary and verbatim text in a language.
    Folded {
        summary: String,
        language: &'static str,
        text: String,
    },
}

/// A table; the first column holds names, the others numbers unless said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Row>,
    /// Columns that hold words.
    pub words: Vec<usize>,
    pub note: String,
}

/// A row of a table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// CSS variable of the swatch before the first cell.
    pub colour: Option<&'static str>,
    pub cells: Vec<String>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Table {
        Table {
            header: header.iter().map(|h| (*h).to_string()).collect(),
            rows: Vec::new(),
            words: vec![0],
            note: String::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row {
            colour: None,
            cells,
        });
    }
}
