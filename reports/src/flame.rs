//! A flame-like picture: nested bars whose width is their share of the whole.
//!
//! Owns layout, colours and the SVG text. Must not know what is measured: it draws names, numbers of
//! milliseconds and notes. plotters knows no hover titles, so the few SVG elements are written here.
//!
//! The root is at the top and children hang below it in the order given (Gregg, "The Flame Graph",
//! 2016, calls this an icicle graph; unlike there neighbours are not sorted or merged, so that
//! a row reads from left to right in the order of execution).

use std::fmt::Write;
use std::path::Path;

use crate::error::ReportError;
use crate::{files, html};

/// A bar and what hangs below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Short name, written into the bar where it fits.
    pub name: String,
    /// Milliseconds, those of the children included.
    pub value: f64,
    /// More, shown when hovering.
    pub note: String,
    /// Bars below; together they are at most as wide as this one.
    pub children: Vec<Frame>,
}

/// Width of the picture in pixels.
const WIDTH: f64 = 1200.0;
/// Height of a bar.
const ROW: f64 = 20.0;
/// Room for the title above.
const TOP: f64 = 34.0;
/// Bars narrower than this are left out: they could neither be seen nor hovered.
const NARROWEST: f64 = 0.2;
/// Width of a letter of the monospace font, of which a name needs so many to be worth writing.
const LETTER: f64 = 6.7;
const LETTERS: usize = 3;
/// One hue for each child of the root, at different lightness below it: Okabe and Ito, as the report's
/// figures.
const HUES: [&str; 6] = [
    "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#A9B3BF",
];

/// Draws the picture; the same frames give the same bytes.
pub fn flame(title: &str, root: &Frame) -> String {
    let height = TOP + ROW * depth(root) as f64 + 6.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n\
         <style>rect{{stroke:#fff;stroke-width:.5}} g:hover>rect{{stroke:#000;stroke-width:1}} text{{pointer-events:none}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"6\" y=\"21\" font-size=\"14\" fill=\"#1F2328\">{}, {:.3} ms</text>\n",
        html::escaped(title),
        root.value
    );
    let whole = if root.value > 0.0 { root.value } else { 1.0 };
    bar(
        &mut out,
        root,
        Bar {
            x: 0.0,
            level: 0,
            hue: "#DDE2E8",
            whole,
        },
    );
    out.push_str("</svg>\n");
    out
}

/// Draws the picture into a file.
///
/// # Errors
/// [`ReportError::Io`] when the file cannot be written.
pub fn write_flame(path: &Path, title: &str, root: &Frame) -> Result<(), ReportError> {
    files::write_atomically(path, flame(title, root).as_bytes())
}

fn depth(frame: &Frame) -> usize {
    1 + frame.children.iter().map(depth).max().unwrap_or(0)
}

/// Where a bar is and what it is part of.
#[derive(Clone, Copy)]
struct Bar {
    x: f64,
    level: usize,
    hue: &'static str,
    whole: f64,
}

fn bar(out: &mut String, frame: &Frame, at: Bar) {
    let width = frame.value / at.whole * WIDTH;
    if width < NARROWEST {
        return;
    }
    let y = TOP + ROW * at.level as f64;
    let mut hover = format!(
        "{}: {:.3} ms, {:.2} %",
        frame.name,
        frame.value,
        100.0 * frame.value / at.whole
    );
    if !frame.note.is_empty() {
        hover = format!("{hover}, {}", frame.note);
    }
    // Every other level is lighter, so that nested bars are told apart.
    let opacity = if at.level.is_multiple_of(2) {
        1.0
    } else {
        0.75
    };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<g><title>{}</title><rect x=\"{:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{ROW}\" fill=\"{}\" fill-opacity=\"{opacity}\"/>",
        html::escaped(&hover),
        at.x,
        at.hue
    );
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    if letters >= LETTERS {
        let _ = write!(
            out,
            "<text x=\"{:.2}\" y=\"{}\" fill=\"#1F2328\">{}</text>",
            at.x + 3.0,
            y + 14.0,
            html::escaped(&fitted(&frame.name, letters))
        );
    }
    out.push_str("</g>\n");
    let mut x = at.x;
    for (i, child) in frame.children.iter().enumerate() {
        let hue = if at.level == 0 {
            HUES[i % HUES.len()]
        } else {
            at.hue
        };
        bar(
            out,
            child,
            Bar {
                x,
                level: at.level + 1,
                hue,
                ..at
            },
        );
        x += child.value / at.whole * WIDTH;
    }
}

/// The name, cut to so many letters.
fn fitted(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    let cut: String = name.chars().take(letters - 1).collect();
    format!("{cut}\u{2026}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str, value: f64) -> Frame {
        Frame {
            name: name.to_owned(),
            value,
            ..Frame::default()
        }
    }

    fn step() -> Frame {
        let forward = Frame {
            children: vec![leaf("gemm", 1.0), leaf("row", 2.0)],
            note: "a < b".to_owned(),
            ..leaf("forward", 3.0)
        };
        Frame {
            children: vec![forward, leaf("update", 1.0), leaf("dust", 1e-5)],
            ..leaf("step", 4.0)
        }
    }

    #[test]
    fn bars_are_as_wide_as_their_share_and_stand_side_by_side() {
        let svg = flame("A step", &step());
        let bars: Vec<&str> = svg.lines().filter(|l| l.starts_with("<g>")).collect();
        assert_eq!(bars.len(), 5, "{svg}");
        assert!(
            bars[0].contains("x=\"0.00\" y=\"34\" width=\"1200.00\""),
            "{svg}"
        );
        assert!(
            bars[1].contains("x=\"0.00\" y=\"54\" width=\"900.00\""),
            "{svg}"
        );
        assert!(
            bars[3].contains("x=\"300.00\" y=\"74\" width=\"600.00\""),
            "{svg}"
        );
        assert!(
            bars[4].contains("x=\"900.00\" y=\"54\" width=\"300.00\""),
            "{svg}"
        );
    }

    #[test]
    fn hovering_tells_time_share_and_note() {
        let svg = flame("A step", &step());
        let title = "<title>forward: 3.000 ms, 75.00 %, a &lt; b</title>";
        assert!(svg.contains(title), "{svg}");
        assert!(svg.contains(">A step, 4.000 ms</text>"), "{svg}");
    }

    #[test]
    fn names_are_cut_to_their_bars() {
        assert_eq!(fitted("embeddings", 10), "embeddings");
        assert_eq!(fitted("embeddings", 5), "embe\u{2026}");
        assert_eq!(
            flame("nothing", &Frame::default()).matches("<g>").count(),
            0
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_flame(&folder.path().join("no/p.svg"), "t", &step()).unwrap_err();
        assert!(error.to_string().contains("p.svg"), "{error}");
    }
}
